"""What a scan asks with is the recorded run's, without what trains; what cannot be judged is refused in one line."""

import json

import numpy as np
import pytest

from extensions import manager
from extensions.base import paths
from extensions.base.errors import UserError
from extensions.base.manifest import Manifest
from extensions.base.reporting import exit_code_of
from extensions.handing_on import __main__ as verbs
from extensions.handing_on import looking, scan
from tests.helpers import checkpoint_files, run_folders

RUN = "25022601"
HELD = {"validation_count": "4", "extensions": "unet_percent,dual_tag,token_chunks,save_states,validate,record_run"}


def record(**flags) -> Manifest:
    known = run_folders.FLAGS | HELD | {"dual_tag": "concat", "output_dir": "/out"} | flags
    return Manifest(run=RUN, script="sdxl_train.py", flags={k: v for k, v in known.items() if v is not None})


def test_only_what_looks_is_left():
    made = scan.as_recorded(record(torch_compile=True, log_with="wandb", sample_prompts="p.txt"), "")
    assert made.flags.get("extensions") == "dual_tag,token_chunks,validate"
    assert not {"torch_compile", "log_with", "sample_prompts"} & made.flags.values.keys()
    assert "skip_cache_check" in made.flags and made.flags.get("validation_count") == "4"


def test_of_whoever_orders_a_mixture_nothing_is_gone_on_from():
    listed = HELD["extensions"] + ",resume_at_step"
    made = scan.as_recorded(record(extensions=listed, resume_mode="exact", resume_from="/gone", stop_at_step="5"), "")
    assert made.flags.get("extensions") == "dual_tag,token_chunks,validate,resume_at_step"
    assert not {"resume_mode", "resume_from", "stop_at_step"} & made.flags.values.keys()


def test_copies_in_memory_are_read_from_their_disk():
    made = Manifest(**vars(record(in_json="/dev/shm/x.arrow")) | {"ramdisk": {"in_json": "/data/meta.json"}})
    assert scan.as_recorded(made, "").flags.get("in_json") == "/data/meta.json"


def test_images_that_the_run_was_trained_on_say_nothing():
    without = record(validation_count=None, extensions="dual_tag,record_run")
    for words in ("", "--validation_count=4", "--validation_share=0.1"):
        with pytest.raises(UserError, match="held no images out of its training"):
            scan.require_held_out(scan.as_recorded(without, words), without)
    with pytest.raises(UserError, match="held no images out"):
        scan.require_held_out(scan.as_recorded(record(), "--validation_count=40"), record(validation_count="4"))
    own = scan.as_recorded(without, "--validation_json=/own.json --validation_data_dir=/own")
    scan.require_held_out(own, without)
    assert own.flags.get("extensions") == "dual_tag,validate"
    scan.require_held_out(scan.as_recorded(record(), ""), record())


def test_prompts_are_those_of_args_else_the_runs_where_they_are(tmp_path):
    (tmp_path / "p.txt").write_text("a")
    known = record(sample_prompts=str(tmp_path / "p.txt"))
    assert scan.prompts_of(scan.as_recorded(known, ""), known) == tmp_path / "p.txt"
    given = scan.as_recorded(known, "--sample_prompts=/q.txt")
    assert str(scan.prompts_of(given, known)) == "/q.txt"
    gone = record(sample_prompts="/no/such.txt")
    assert scan.prompts_of(scan.as_recorded(gone, ""), gone) is None


class Fake:
    """Asks nobody: blends dip at 0.5."""

    count, asked = 3, "q"

    def __init__(self, asked, paths, laid, out, prompts):
        self.out = out

    def look(self, ratio):
        return np.array([0.1, 0.2, 0.3]) + (ratio - 0.5) ** 2 * np.array([1, 1.1, 0.9])

    def finish(self, ratios):
        pass


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A recorded run with its base and its end; they are asked by nobody."""
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    monkeypatch.setattr(looking, "Looker", Fake)
    monkeypatch.delenv("ARGS", raising=False)
    shapes = checkpoint_files.entries(checkpoint_files.small("sdxl"))
    checkpoint_files.write(tmp_path / "base.safetensors", shapes)
    end = tmp_path / f"model_out_{RUN}" / "last.safetensors"
    end.parent.mkdir()
    known = run_folders.folder_of(
        tmp_path / "logs", RUN, "20260301T100000Z", [], flags=record().flags,
        base_model={"path": str(tmp_path / "base.safetensors")},
    )  # fmt: skip
    started = json.loads((known / "manifest.json").read_text())["started"]
    checkpoint_files.write(end, shapes, {"sdxl_trainer.run": RUN, "sdxl_trainer.started": started})
    return tmp_path


def scanned(*words) -> int:
    return exit_code_of(verbs.main, ["scan", *map(str, words)])


def test_a_scan_says_what_beats_both_ends_and_keeps_the_figures(run, capsys):
    assert scanned("--ratios=0:1:0.25", RUN) == 0
    said = capsys.readouterr().out
    assert "RATIO=0.5 beats both ends: error of x_0 0.20000" in said
    assert [line.split()[0] for line in said.splitlines() if "±" in line][:5] == ["0", "0.25", "0.5", "0.75", "1"]
    (kept,) = (run / f"model_out_{RUN}" / scan.FOLDER).glob("*/scan.json")
    found = json.loads(kept.read_text())
    assert [each["ratio"] for each in found["ratios"]] == [0, 0.25, 0.5, 0.75, 1]
    assert found["ratios"][2]["errors"] == [0.1, 0.2, 0.3] and found["b"]["run"] == RUN and found["asked"] == "q"


def test_refused_in_one_line_with_nothing_written(run, capsys):
    (run / "taken").mkdir()
    cases = [
        ([], "give RUN="),
        (["--ratios=0:1", RUN], "RATIOS=0:1 is neither"),
        (["--ratios=x", RUN], "is neither FIRST:LAST:STEP"),
        (["25999999"], "there is no record of a run 25999999"),
        (["--a=/no.safetensors", RUN], "no such checkpoint: /no.safetensors"),
        ([f"--out={run / 'taken'}", RUN], "is there already"),
        ([f"--out={run / 'base.safetensors' / 'x'}", RUN], "cannot be made"),
    ]
    before = sorted(run.rglob("*"))
    for words, line in cases:
        capsys.readouterr()
        assert scanned(*words) == 2
        said = [each for each in capsys.readouterr().err.splitlines() if each.startswith("error: ")]
        assert len(said) == 1 and line in said[0], (words, said)
    assert sorted(run.rglob("*")) == before


def test_what_a_run_predicts_is_asked_of_its_blends():
    """Without the plugin that says it, a run of flow would be asked for noise."""
    wanted = [
        name for name in manager.available() if any(hasattr(manager.declared(name), hook) for hook in scan.WANTED)
    ]
    assert {"objective", "dual_tag", "token_chunks", "validate"} <= set(wanted)
    assert not {"ema", "save_states", "on_nan", "loss_weights", "timestep_draws"} & set(wanted)
