"""Makes CLIP tokenizers in the folders where sd-scripts looks for them, from open_clip's vocabulary.

sd-scripts replaces "/" by "_" in the Hub id and loads `<--tokenizer_cache_dir>/<that name>`; a Hub
subfolder ("tokenizer" for SD2) plays no part in the path (`_load_tokenizer` in strategy_base.py).

The three share vocabulary and merges, those of openai/CLIP. They differ in the padding token:
`<|endoftext|>` (49407) for SDXL's first, "!" (0) for SDXL's second and for SD2.
"""

import gzip
import json
from importlib.util import find_spec
from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.saving import replacing_folder

BOS = "<|startoftext|>"
EOS = "<|endoftext|>"
PADDING = "<|pad|>"  # a second name of the id 0, in what `write_for_pipelines` writes
PAD_TOKENS = {
    "openai_clip-vit-large-patch14": EOS,
    # sd-scripts sets pad id 0 by itself; "!" as a pad token would take the exclamation marks out of texts.
    "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k": EOS,
    "stabilityai_stable-diffusion-2": "!",
}
# The file holds more merges than CLIP uses: 49408 tokens less 512 byte symbols and 2 special tokens.
MERGES = 49408 - 512 - 2


def ensure_tokenizers(folder: Path) -> None:
    """Write the tokenizers that are missing below `folder`; leave those present alone.

    Each sub-folder holds vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json and
    loads with `transformers.CLIPTokenizer.from_pretrained`.
    Raises UserError when open_clip_torch is not installed or the folder is not writable.
    """
    missing = [name for name in PAD_TOKENS if not (Path(folder) / name).is_dir()]
    if not missing:
        return
    merges = _read_merges()
    for name in missing:
        with replacing_folder(Path(folder) / name) as target:
            _write(target, merges, PAD_TOKENS[name])


def write_for_pipelines(target: Path, pads_with_end: bool) -> None:
    """Write a tokenizer for diffusers' pipelines. pads_with_end: with EOS, as SDXL's first; else with the id 0.

    That id is "!". Published files name it as the padding, and so take each exclamation mark of a prompt for padding;
    here the id has a name of its own besides, so that prompts are read as they were trained.
    """
    target.mkdir(parents=True, exist_ok=True)
    _write(target, _read_merges(), EOS if pads_with_end else PADDING)


def _vocabulary_file() -> Path:
    # find_spec locates the package without running it: importing open_clip takes seconds.
    spec = find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("no CLIP vocabulary: open_clip_torch is missing; install the project's dependencies")
    return Path(spec.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"


def _read_merges() -> list[str]:
    with gzip.open(_vocabulary_file(), "rt", encoding="utf-8") as lines:
        text = lines.read()
    return text.split("\n")[1 : MERGES + 1]


def _byte_symbols() -> list[str]:
    """Return the 256 characters that stand for bytes, in the order of the vocabulary (GPT-2's scheme).

    Printable bytes stand for themselves and come first; the rest are numbered from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(256 + i) for i in range(others)]


def _vocabulary(merges: list[str]) -> dict[str, int]:
    symbols = _byte_symbols()
    tokens = symbols + [s + "</w>" for s in symbols]
    tokens += [merge.replace(" ", "") for merge in merges] + [BOS, EOS]
    return {token: index for index, token in enumerate(tokens)}


def _write(target: Path, merges: list[str], pad: str) -> None:
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": pad}
    config = {
        **special,
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
    }
    named = {PADDING: 0} if pad == PADDING else {}
    _write_json(target / "vocab.json", named | _vocabulary(merges))
    _write_json(target / "special_tokens_map.json", special)
    _write_json(target / "tokenizer_config.json", config)
    (target / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
