"""What a pack of text outputs is of, which runs may read it, and that the data follow it."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from extensions import manager
from extensions.base.errors import UserError
from extensions.data.dataset import LatentsDataset
from extensions.data.loader import Place
from extensions.data.outputs import made_with, write
from extensions.data.outputs.header import Pack
from extensions.hookspecs import hookimpl
from extensions.plugins import text_outputs
from tests.helpers import npz_sets
from tests.helpers.dual_tag_cases import DEFAULTS
from tests.helpers.plugin_flags import parsed

PLUGINS = "dual_tag,token_chunks,text_outputs"
TRAINERS = {
    "script": "sdxl_train.py", "train_text_encoder": False, "mixed_precision": "no", "max_token_length": None,
    "clip_skip": None, "seed": 5, "train_batch_size": 1, "skip_cache_check": True,
}  # fmt: skip


def flags(*words, **more):
    given = DEFAULTS | vars(parsed(PLUGINS, "--dual_tag=concat", "--dual_tag_shuffle", *words)) | TRAINERS | more
    return SimpleNamespace(**given)


@pytest.fixture
def base(tmp_path):
    """A checkpoint of three tensors, two of them text encoders'."""
    path = tmp_path / "base.safetensors"
    tensors = {f"{name}a.weight": torch.arange(6.0) for name in (made_with.TE1_SDXL, made_with.TE2_SDXL)}
    save_file(tensors | {"model.diffusion_model.out.0.weight": torch.ones(3)}, path)
    return path


@pytest.fixture
def run(base, tmp_path, monkeypatch):
    """A function giving (args, dataset or the error) of a run on a set of twelve."""
    meta, data = npz_sets.make(tmp_path / "set")
    monkeypatch.setattr(manager, "_current", manager.Manager(manager.listed(PLUGINS)))

    def opens(*words, **more):
        where = {"in_json": str(meta), "train_data_dir": str(data), "pretrained_model_name_or_path": str(base)}
        args = flags(*words, **where | more)
        monkeypatch.setattr(manager, "_args", args)
        return args, LatentsDataset(None, None, None, False)

    return opens


def states(text: str) -> list[torch.Tensor]:
    """Toy encoders: one chunk, whose states say which text it is."""
    number = float(sum(map(ord, text)) % 251)
    return [torch.full((1, 7, 2), number), torch.full((1, 7, 3), number), torch.full((1, 3), number)]


@pytest.fixture
def pack(run, tmp_path):
    """The folder of a pack of two texts an image."""
    args, dataset = run()
    planned = Pack((2, 3), "float32", 2, 12, 1, 7, made_with.of_run(args, dataset.metadata))
    write.make(
        tmp_path / "pack",
        planned,
        lambda row, k: dataset.text_of(dataset.metadata[row], k + 1),
        states,
        lambda text: 7,
    )
    return tmp_path / "pack"


def test_batches_have_the_outputs_of_their_texts_which_come_again(run, pack):
    _, plain = run()
    _, dataset = run(f"--text_outputs={pack}")
    dataset.tokenize_strategy = SimpleNamespace(tokenize=lambda texts: pytest.fail("tokenized"))
    seen = {}
    for row in range(12):
        for epoch in range(1, 6):
            batch = dataset[Place(epoch, (row,))]
            text = plain.text_of(plain.metadata[row], (epoch - 1) % 2 + 1)
            assert batch["captions"] == [text] and batch["input_ids_list"] is None
            assert all(map(torch.equal, batch["text_encoder_outputs_list"], states(text)))
            seen.setdefault(row, []).append(text)
    assert dataset.fingerprint == f"{plain.fingerprint} with the texts of 2 epochs"


@pytest.mark.parametrize(
    ("words", "more", "says"),
    [
        (["--dual_tag_drop_tags=0.1"], {}, "--dual_tag_drop_tags: not set there, 0.1 here"),
        (["--dual_tag=tags"], {}, "--dual_tag: concat there, tags here"),
        (["--token_chunks=plain"], {}, "--token_chunks: not set there, plain here"),
        (["--max_token_chunks=2"], {}, "--max_token_chunks: not set there, 2 here"),
        ([], {"seed": 6}, "--seed: 5 there, 6 here"),
        ([], {"mixed_precision": "bf16"}, "--mixed_precision: no there, bf16 here"),
        ([], {"caption_dropout_rate": 0.1}, "--caption_dropout_rate: not set there, 0.1 here"),
        ([], {"caption_separator": "|"}, "--caption_separator: , there, | here"),
    ],
)
def test_a_run_with_other_texts_is_refused(run, pack, words, more, says):
    run(f"--text_outputs={pack}")
    with pytest.raises(UserError, match="are of another run") as caught:
        run(f"--text_outputs={pack}", *words, **more)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_other_encoders_and_data_are_refused_and_another_unet_is_not(run, pack, base, tmp_path):
    tensors = load_file(base)
    tensors["model.diffusion_model.out.0.weight"] += 1
    save_file(tensors, base)
    run(f"--text_outputs={pack}")
    tensors[f"{made_with.TE2_SDXL}a.weight"][5] += 1
    save_file(tensors, base)
    with pytest.raises(UserError, match="text encoders: [0-9a-f]{32} there, [0-9a-f]{32} here"):
        run(f"--text_outputs={pack}")
    tensors[f"{made_with.TE2_SDXL}a.weight"][5] -= 1
    save_file(tensors, base)
    meta = tmp_path / "set" / "meta_lat.json"
    meta.write_text(meta.read_text().replace("tag7", "tag8"))
    with pytest.raises(UserError, match=r"of another run \(metadata: "):
        run(f"--text_outputs={pack}")


def test_runs_that_cannot_read_any(tmp_path):
    plugin = text_outputs.Plugin()
    for more, says in (
        ({}, "is listed without --text_outputs"),
        ({"text_outputs": "x", "train_text_encoder": True}, "needs text encoders that do not train"),
    ):
        with pytest.raises(UserError, match=says):
            plugin.check_arguments(SimpleNamespace(text_outputs=None, **TRAINERS) if not more else checked(**more))
    plugin.check_arguments(checked(text_outputs="x"))
    with pytest.raises(UserError, match="is for SDXL"):
        plugin.check_arguments(checked(text_outputs="x", v2=True))


def checked(**more):
    """All flags of a trainer."""
    from extensions.reference import flags as reference

    parser = reference.parser("fine_tune.py" if "v2" in more else "sdxl_train.py")
    return SimpleNamespace(**vars(parser.parse_known_args(["--extensions=text_outputs"])[0]) | more)


class Evaluates:
    @hookimpl
    def evaluate(self):
        pass


@pytest.mark.parametrize("evaluates", [False, True])
def test_the_encoders_leave_the_device_unless_somebody_asks_them(evaluates, monkeypatch):
    moved = []
    made = manager.Manager()
    if evaluates:
        made.register("evaluates", Evaluates())
    monkeypatch.setattr(manager, "_current", made)
    plugin = text_outputs.Plugin()
    plugin.models_loaded(SimpleNamespace(text_encoders=[SimpleNamespace(to=moved.append)] * 2))
    plugin.training_begins(None)
    assert moved == [], "without a pack"
    plugin.used = True
    plugin.training_begins(None)
    assert moved == ([] if evaluates else ["cpu"] * 2)


def test_while_they_are_made_none_are_read(pack):
    shutil.rmtree(pack)
    assert text_outputs.Plugin().text_outputs(SimpleNamespace(text_outputs=None), None) is None
