"""Base models that strangers made: exit code 2, one line that names the file, no run folder, nothing written over.

The launcher's own main, with nothing in its way: no GPU is asked for and no stand-in takes the file's place.
"""

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from extensions.base.reporting import exit_code_of
from extensions.launch import __main__ as launcher
from tests.helpers import checkpoint_files as files

UNET, TE1 = "model.diffusion_model.", "conditioner.embedders.0.transformer.text_model."
OUT = f"{UNET}out.2.weight"


def sdxl(**shapes) -> dict:
    """A whole header with these tensors as well, or otherwise; None takes one out."""
    found = files.small("sdxl") | {name.replace("__", "."): shape for name, shape in shapes.items()}
    return {name: shape for name, shape in found.items() if shape is not None}


def of(shapes: dict, metadata: dict | None = None, **dtypes):
    return lambda path: files.write(path, files.entries(shapes, dtypes), metadata)


def with_entry(**entry):
    """One tensor's entry says something else."""

    def write(path):
        header = files.entries(sdxl())
        header[OUT] = header[OUT] | entry
        files.write(path, header)

    return write


def raw(header: bytes, length: int | None = None):
    return lambda path: files.write(path, header, length=length)


def cut(path):
    of(sdxl())(path)
    os.truncate(path, path.stat().st_size - 1)


def zip_and_safetensors(path):
    """torch.load takes it for an archive by its first bytes, a reader of safetensors for a header of 67 MB."""
    length = struct.unpack("<Q", b"PK\x03\x04\0\0\0\0")[0]
    header = json.dumps(files.entries(sdxl())).encode()
    files.write(path, header + b" " * (length - len(header)))


def zip_among_tensors(path):
    of(sdxl(v_pred=(400,)))(path)
    with open(path, "r+b") as file:
        file.seek(-800, os.SEEK_END)
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({}))


CASES = {
    "a tensor missing": (of(sdxl(**{OUT: None})), "1 of 1,117 are missing"),
    "a layer missing": (of({n: s for n, s in sdxl().items() if ".layers.5." not in n}), "16 of 1,101 are missing"),
    "no autoencoder": (of({n: s for n, s in sdxl().items() if "first_stage" not in n}), "first_stage_model"),
    "no text encoder": (of({n: s for n, s in sdxl().items() if "embedders.0" not in n}), "embedders.0"),
    "a block too many": (of(sdxl(**{f"{UNET}input_blocks.9.0.op.weight": (1,)})), "1 too many"),
    "a LoRA inside": (of(sdxl(**{"lora_unet_x.lora_up.weight": (4, 4)})), "1 too many (lora_unet_x.lora_up.weight)"),
    "a name of terminal codes": (of(sdxl(**{"x\x1b]0;owned\x07\nerror: all is well": (1,)})), "x\\x1b]0;owned"),
    "a name of 60,000 characters": (of(sdxl(**{"x" * 60_000: (1,)})), "xxx…"),
    "inpainting": (of(sdxl(**{f"{UNET}input_blocks.0.0.weight": (32, 9, 3, 3)})), "(32, 9, 3, 3) instead of (32, 4"),
    "rank 0": (of(sdxl(**{f"{UNET}time_embed.0.weight": ()})), "has the shape ()"),
    "width 0": (of(sdxl(**{f"{TE1}embeddings.token_embedding.weight": (49408, 0)})), "has the shape (49408, 0)"),
    "another vocabulary": (of(sdxl(**{f"{TE1}embeddings.token_embedding.weight": (49410, 64)})), "(49410, 64)"),
    "halves of two models": (of(sdxl(**{f"{TE1}embeddings.token_embedding.weight": (49408, 128)})), "fit together"),
    "a U-Net of integers": (of(sdxl(), **{n: "I8" for n in sdxl() if n.startswith(UNET)}), "but I8"),
    "one boolean": (of(sdxl(), **{OUT: "BOOL"}), "but BOOL"),
    "overlapping tensors": (with_entry(data_offsets=[0, 2304]), "is damaged"),
    "offsets backwards": (with_entry(data_offsets=[2304, 0]), "is damaged"),
    "an unknown dtype": (with_entry(dtype="F33"), "`F33`"),
    "a shape of words": (with_entry(shape=["4", 32, 3, 3]), "is damaged"),
    "an entry in an entry": (with_entry(shape={"a": []}), "is damaged"),
    "a shape that overflows": (with_entry(shape=[1 << 62, 1 << 62]), "is damaged"),
    "nested header": (raw(b'{"a":' * 200_000), "is damaged"),
    "no object": (raw(b"[1, 2, 3]"), "is damaged"),
    "no JSON": (raw(b"hello, this is a text file"), "is damaged"),
    "absurd length": (raw(b"{}", length=1 << 60), "is damaged"),
    "length of 99 MB": (raw(b"{}", length=99_000_000), "is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged"),
    "cut short": (cut, "is truncated"),
    "torch.save": (lambda path: torch.save({"state_dict": {}}, path), "is a pickle"),
    "an old torch.save": (lambda path: torch.save({}, path, _use_new_zipfile_serialization=False), "is a pickle"),
    "a bare pickle": (lambda path: path.write_bytes(pickle.dumps({})), "is a pickle"),
    "zip and safetensors": (zip_and_safetensors, "is a pickle or a zip archive"),
    "zip among tensors": (zip_among_tensors, "is a pickle or a zip archive"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "a FIFO": (os.mkfifo, "no such checkpoint"),
    "SD2": (of(files.small("sd2")), "is SD2, this run needs SDXL"),
    "no model at all": (of({"a.weight": (2, 2)}), "not a Stable Diffusion checkpoint"),
    "v_pred": (of(sdxl(v_pred=(0,))), "add --v_parameterization"),
    "v in the metadata": (of(sdxl(), {"modelspec.prediction_type": "v"}), "add --v_parameterization"),
    "EDM": (of(sdxl(**{"edm_vpred.sigma_max": ()})), "predicts edm"),
}


@pytest.fixture
def launch(tmp_path, monkeypatch, capfd):
    """A launch on the CPU without a profile: what it said, after exit code 2 and nothing left."""
    monkeypatch.setenv("CPU", "1")
    monkeypatch.setenv("TRAINER", "reference")
    (tmp_path / "latents").mkdir()
    (tmp_path / "meta.json").write_text("{}")

    def run(base: Path, *flags: str) -> str:
        words = [
            "25022601", "GPUS=1", "sdxl_train.py", f"--pretrained_model_name_or_path={base}", "--seed=1",
            f"--in_json={tmp_path / 'meta.json'}", f"--train_data_dir={tmp_path / 'latents'}", "--mixed_precision=no",
            f"--output_dir={tmp_path / 'out'}", *flags,
        ]  # fmt: skip
        assert exit_code_of(launcher.main, words) == 2
        said = capfd.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and said.rstrip("\n").isprintable()
        assert len(said) < 1000
        assert not [path for path in (tmp_path / "out").rglob("*") if path.name != ".launch.lock"]
        return said

    return run


@pytest.mark.parametrize("case", CASES)
def test_a_base_model(case, launch, tmp_path):
    write, says = CASES[case]
    base = tmp_path / "base.safetensors"
    write(base)
    said = launch(base)
    assert says in said and str(base) in said


@pytest.mark.parametrize("case", ["torch.save", "zip and safetensors", "a bare pickle"])
def test_names_say_nothing(case, launch, tmp_path):
    for name in ("base.ckpt", "base.pt", "base"):
        CASES[case][0](tmp_path / name)
        assert "is a pickle" in launch(tmp_path / name)


@pytest.mark.parametrize(
    ("metadata", "flags", "says"),
    [
        ({"modelspec.prediction_type": "epsilon"}, ["--v_parameterization"], "take --v_parameterization out"),
        ({"modelspec.prediction_type": "\x1b[2J\n"}, [], "predicts \\x1b[2j"),
    ],
)
def test_metadata(metadata, flags, says, launch, tmp_path):
    of(sdxl(), metadata)(tmp_path / "base.safetensors")
    assert says in launch(tmp_path / "base.safetensors", *flags)


@pytest.mark.parametrize("case", ["torch.save", "a bare pickle", "cut short", "a folder", "no model at all", "empty"])
def test_another_autoencoder(case, launch, tmp_path):
    of(sdxl())(tmp_path / "base.safetensors")
    CASES[case][0](tmp_path / "vae.pt")
    assert "error: --vae: " in launch(tmp_path / "base.safetensors", f"--vae={tmp_path / 'vae.pt'}")
