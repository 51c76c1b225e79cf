"""Tiny runs that read text encoders' outputs: the same losses and weights to the last bit, resumed ones, too."""

import pytest
from safetensors.torch import load_file

from tests.helpers.launching import launch

RUN = "24121401"  # no text encoder trains
PLUGINS = "dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run"
TEXTS = (
    "--dual_tag=concat --dual_tag_shuffle --dual_tag_drop_each_tag=0.3 --caption_dropout_rate=0.2 "
    "--dual_tag_drop_to_zero=0.5 --gradient_accumulation_steps=4"
)
TINY = {"PROFILE": "tiny", "TINY_STEPS": 8}  # 32 micro-steps, 23 an epoch
BOTH = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(its words, its folder): outputs of two texts an image."""
    folder = tmp_path_factory.mktemp("outputs") / "pack"
    words = f"--extensions={PLUGINS},text_outputs {TEXTS} --text_outputs={folder}"
    done = launch(RUN, folder.parent, **TINY, VARIANTS=2, ARGS=words)
    assert done.code == 0 and f"text outputs: {folder}" in done.said, done.said[-3000:]
    return words, folder


def losses(run) -> list[float]:
    return [line["loss"] for line in run.metrics if "loss" in line]


def weights(run) -> dict:
    return load_file(run.output / "last.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("trainer", BOTH)
def test_training_is_the_same_to_the_last_bit(trainer, made, tmp_path):
    words, _ = made
    runs = {
        "plain": launch(RUN, tmp_path / "plain", **TINY, TRAINER=trainer, ARGS=f"--extensions={PLUGINS} {TEXTS}"),
        "read": launch(RUN, tmp_path / "read", **TINY, TRAINER=trainer, ARGS=words),
        "first": launch(RUN, tmp_path / "parts", **TINY, TRAINER=trainer, ARGS=f"{words} --stop_at_step=3"),
        "then": launch(RUN, tmp_path / "parts", **TINY, TRAINER=trainer, RESUME="auto", ARGS=words),
    }
    for run in runs.values():
        assert run.code == 0, run.said[-3000:]
    assert len(losses(runs["plain"])) == 8 and losses(runs["plain"]) == losses(runs["read"])
    assert losses(runs["plain"]) == losses(runs["first"]) + losses(runs["then"])
    wanted = weights(runs["plain"])
    for name in ("read", "then"):
        found = weights(runs[name])
        assert found.keys() == wanted.keys() and all(found[each].equal(wanted[each]) for each in wanted)


@pytest.mark.slow
def test_another_run_is_refused_before_it_trains(made, tmp_path):
    words, folder = made
    for more, says in (("--dual_tag=tags", "--dual_tag: concat there, tags here"), ("--train_text_encoder", "train")):
        done = launch(RUN, tmp_path, **TINY, TRAINER="reference", ARGS=f"{words} {more}")
        assert done.code == 2 and says in done.said and "Traceback" not in done.said
    again = launch(RUN, tmp_path, **TINY, VARIANTS=2, ARGS=words)
    assert again.code == 2 and f"{folder} holds finished text outputs" in again.said


@pytest.mark.parametrize(
    ("variants", "words", "says"),
    [
        (2, f"--extensions={PLUGINS}", f"train/{RUN}.sh does not list text_outputs: add it to --extensions"),
        (0, "", "VARIANTS=0 is not a whole number from 1 up"),
    ],
)
def test_what_cannot_be_made_is_one_line(variants, words, says, tmp_path):
    done = launch(RUN, tmp_path, **TINY, VARIANTS=variants, ARGS=words)
    assert done.code == 2 and says in done.said and "Traceback" not in done.said


def test_a_blend_is_no_file_yet(tmp_path):
    words = f"--extensions={PLUGINS},text_outputs --text_outputs={tmp_path / 'pack'}"
    base = "--pretrained_model_name_or_path=blend(base,25022601,0.5)"
    done = launch(RUN, tmp_path, **TINY, VARIANTS=1, ARGS=f"{words} {base}")
    assert done.code == 2 and "is no file yet; make it (make blend)" in done.said and not (tmp_path / "pack").exists()
