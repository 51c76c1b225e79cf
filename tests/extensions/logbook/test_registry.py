"""The registry: the launchers as runs, the chain of segments, and what a broken launcher leads to."""

import re
import shutil
import time

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS, RUNTIME
from extensions.launch.checks import PATH_VARIABLES
from extensions.logbook import header, registry


@pytest.fixture(scope="module")
def runs():
    return registry.read_all()


@pytest.fixture
def folder(tmp_path):
    """A copy of the shared shell, for launchers of the test's own. The space is part of the test."""
    made = tmp_path / "Intel P4510 3" / "train"
    shutil.copytree(LAUNCHERS / "lib", made / "lib")
    return made


def write(folder, number, *flags, before=""):
    """A launcher with a header, one line of shell and some flags."""
    lines = [
        f"# model_out_{number}: a trial",
        "# Session 2611: SDXL",
        'source "$(dirname "$0")/lib/launch.sh"',
        before,
        f"launch sdxl_train.py {' '.join(flags)}",
    ]
    (folder / f"{number}.sh").write_text("\n".join(lines) + "\n")


def test_all_launchers_are_runs(runs):
    assert list(runs) == sorted(path.stem for path in LAUNCHERS.glob("[0-9]*.sh"))


def test_reading_all_is_quick():
    start = time.perf_counter()
    registry.read_all()
    assert time.perf_counter() - start < 1.5


def test_a_run_reads_in_the_logbooks_terms(runs):
    run = runs["25022601"]
    assert (run.base, run.data, run.session) == ("215c", "6k", "2502")
    assert (run.unet_percent, run.tte, run.lr_unet, run.lr_te) == (71, "on", 1.5e-6, 1.2e-5)
    assert (run.epochs, run.ga, run.steps, run.ramdisk) == (10, 4, 3890, True)
    chosen, kept = (
        ["unet_percent", "dual_tag", "token_chunks"],
        ["resume_at_step", "save_states", "on_nan", "record_run"],
    )
    assert run.extensions == [*chosen, *kept]


def test_flags_are_switches_texts_and_lists(runs):
    flags = runs["25031502"].flags
    assert flags["xformers"] is True
    assert flags["learning_rate"] == "1e-6"
    assert flags["optimizer_args"] == ["relative_step=True", "warmup_init=True", "weight_decay=1e-2"]


def test_paths_stand_under_their_variables_names(runs):
    assert runs["25022601"].flags["pretrained_model_name_or_path"] == "$BASE_215C"
    assert runs["25040601"].flags["pretrained_model_name_or_path"].startswith("$OUTPUT/model_out_25033101/")


def test_the_callers_environment_does_not_show(monkeypatch):
    monkeypatch.setenv("GPUS", "2")
    monkeypatch.setenv("RAMDISK", "0")
    monkeypatch.setenv("ARGS", "--learning_rate=1")
    run = registry.read(LAUNCHERS / "25022601.sh")
    assert (run.gpus, run.ramdisk, run.lr_unet) == (4, True, 1.5e-6)


def test_a_segment_has_the_base_of_its_first_ancestor(runs):
    assert {run.base for run in runs.values() if run.session == "2503c"} == {"255c"}


@pytest.mark.parametrize(
    ("run", "base"),
    [
        ("25111202", "AC-NoobAI-1.0"),
        ("26011101", "blend(base, 25112201, 0.5)"),
        ("26011102", "26011101 epoch-000008"),
        ("26022301", "VL-2.5EP"),
    ],
)
def test_a_base_is_an_alias_a_blend_or_another_runs_checkpoint(runs, run, base):
    assert runs[run].base == base


def test_each_base_has_a_file_in_the_shell_and_in_the_example_of_a_machine():
    """The same line in both, and among what a launch names where it is missing."""
    files = LAUNCHERS / "lib" / "launch.sh", RUNTIME / "configs" / "env.example.sh"
    for name in registry.BASES:
        line = re.compile(rf"^{name[1:]}=\$\{{{name[1:]}:-\$MODELS/(\S+\.safetensors)\}}$", re.M)
        shell, example = (line.findall(path.read_text()) for path in files)
        assert len(shell) == 1 and shell == example, name
        assert name[1:] in PATH_VARIABLES["pretrained_model_name_or_path"]
        assert re.search(rf"^export .*\b{name[1:]}\b", files[0].read_text(), re.M)


def test_an_own_dataset_has_unknown_steps(folder):
    write(folder, "26010101", "--in_json=/data/mine.json", "--max_train_epochs=3", "--learning_rate=1e-6")
    run = registry.read_all(folder)["26010101"]
    assert (run.data, run.steps, run.tte, run.lr_te) == ("mine.json", None, "off", None)


def test_text_encoders_fall_back_to_the_unets_rate(folder):
    write(folder, "26010101", "--learning_rate=2e-6", "--train_text_encoder", "--max_train_steps=100")
    run = registry.read_all(folder)["26010101"]
    assert (run.tte, run.lr_te, run.steps) == ("on", 2e-6, 100)


@pytest.mark.parametrize(
    ("flags", "before", "message"),
    [
        (["--learning_rate=fast"], "", "^train/26010101.sh: --learning_rate=fast is not a number"),
        (["--max_train_epochs=many"], "", "^train/26010101.sh: --max_train_epochs=many is not a whole number"),
        (["--extensions=dual_tags"], "", "^train/26010101.sh: .* no plugin named 'dual_tags'; did you mean dual_tag"),
        (["word"], "", "^train/26010101.sh: 'word' stands before any flag"),
        ([], "nosuchcommand", "26010101.sh states no facts: .*nosuchcommand"),
        ([], "exit 0", "it never calls launch"),
        ([], "PARENT=26010199", "PARENT=26010199 is not a run"),
        ([], "PARENT=26010101", "PARENT=26010101 is not a run"),
    ],
)
def test_a_broken_launcher_is_named(folder, flags, before, message):
    write(folder, "26010101", *flags, before=before)
    with pytest.raises(UserError, match=message):
        registry.read_all(folder)


def test_find_takes_the_models_name_and_hints_at_near_runs(runs):
    assert registry.find(runs, "model_out_25022601").run == "25022601"
    with pytest.raises(UserError, match=r"there is no run 25022611; near it: .*25022601"):
        registry.find(runs, "25022611")
    with pytest.raises(UserError, match="make runs"):
        registry.find(runs, "nothing-like-it")


def test_header_keeps_the_logbooks_words():
    head = header.read(LAUNCHERS / "25022301.sh")
    assert head.words.endswith("Deepspeed Zero Stage 2 + Pytorch Dynamo + `mem_eff_attn`")
    assert (head.session, head.hardware) == ("2502", "4x RTX 3090 24 GB")
    assert "3890" in head.record and len(head.notes) == 2
