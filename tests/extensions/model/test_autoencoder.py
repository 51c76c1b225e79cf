"""The autoencoder of a checkpoint: the stand-ins' latents are its mode, and it is told apart from others."""

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from extensions.base.errors import UserError
from extensions.model import autoencoder
from extensions.model.checkpoint import VAE
from extensions.standins.datasets import mode_encoder


def test_encodes_as_the_stand_ins_were(standins):
    pixels = np.random.default_rng(1).uniform(-1, 1, (1, 3, 64, 128)).astype(np.float32)
    found = autoencoder.encode(autoencoder.load(str(standins["sdxl"])), pixels)
    assert found.shape == (1, 4, 8, 16) and found.dtype == np.float32
    assert np.allclose(found, mode_encoder(standins["sdxl"])(pixels), atol=1e-5)
    assert np.array_equal(found, autoencoder.encode(autoencoder.load(str(standins["sdxl"])), pixels)), (
        "no random draw"
    )


def test_the_digest_is_of_the_autoencoder_alone(standins, tmp_path):
    tensors = load_file(standins["sd2"])
    first = next(name for name in tensors if not name.startswith(VAE))
    save_file(tensors | {first: tensors[first] + 1}, tmp_path / "other_unet.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if not name.startswith(VAE)}, tmp_path / "none.safetensors"
    )
    assert autoencoder.digest(tmp_path / "other_unet.safetensors") == autoencoder.digest(standins["sd2"])
    assert autoencoder.digest(standins["sd2"]) != autoencoder.digest(standins["sdxl"])
    with pytest.raises(UserError, match="holds no autoencoder"):
        autoencoder.digest(tmp_path / "none.safetensors")
