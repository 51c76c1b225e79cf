"""Makes all stand-ins at once; a second call finds them in place and imports no torch."""

from pathlib import Path

from extensions.standins.datasets import ensure_dataset
from extensions.standins.model_sd2 import ensure_sd2
from extensions.standins.model_sdxl import ensure_sdxl
from extensions.text.tokenizers import ensure_tokenizers


def ensure_all(models: Path, datasets: Path) -> dict[str, Path]:
    """Make what is missing below `models` and `datasets`; return where everything is.

    Keys: tokenizers (for --tokenizer_cache_dir), sdxl, sd2 (checkpoints), meta_sdxl, meta_sd2 (metadata
    files), data_sdxl, data_sd2 (folders of npz files). Raises UserError when a folder is not writable.
    """
    models, datasets = Path(models), Path(datasets)
    found = {"tokenizers": models / "tokenizers"}
    ensure_tokenizers(found["tokenizers"])
    for kind, ensure in (("sdxl", ensure_sdxl), ("sd2", ensure_sd2)):
        found[kind] = models / f"standin_{kind}.safetensors"
        ensure(found[kind])
        found[f"meta_{kind}"], found[f"data_{kind}"] = ensure_dataset(datasets / kind, kind, found[kind])
    return found
