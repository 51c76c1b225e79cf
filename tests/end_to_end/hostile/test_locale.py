"""Names of files beyond ASCII in locales that do not have them, and names that are no UTF-8."""

import os
import shlex
import shutil
import subprocess

import pytest

from extensions.base.paths import LAUNCHERS
from extensions.resume import states
from tests.helpers.launching import launch

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
NAME = "äußerst 日本"


@pytest.fixture(scope="module", params=["C", "Latin-1"])
def locale(request, tmp_path_factory):
    """Variables of a locale without UTF-8, with Python's own way out of it closed."""
    if request.param == "C":
        return {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    folder = tmp_path_factory.mktemp("locales")
    words = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / "en_US.ISO-8859-1")]
    if shutil.which("localedef") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no Latin-1 locale can be made here")
    return {"LC_ALL": "en_US.ISO-8859-1", "LOCPATH": str(folder), "PYTHONUTF8": "0"}


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_run_whose_files_all_have_such_names(trainer, locale, standins, tmp_path):
    data = tmp_path / f"data {NAME}"
    shutil.copytree(standins["data_sdxl"], data / "latents")
    shutil.copy(standins["meta_sdxl"], data / "meta_lat.json")
    words = {"in_json": data / "meta_lat.json", "train_data_dir": data / "latents"}
    flags = " ".join(f"--{name}={shlex.quote(str(path))}" for name, path in words.items())
    settings = {"PROFILE": "tiny", "TRAINER": trainer, "TINY_STEPS": 2} | locale
    output, logs = tmp_path / NAME, tmp_path / f"logs {NAME}"
    for words, resume in (("--stop_at_step=1", ""), ("", "auto")):
        done = launch("24120801", output, LOGS=logs, ARGS=f"{flags} {words}", RESUME=resume, **settings)
        assert done.code == 0 and "Traceback" not in done.said, done.said[-3000:]
    assert states.newest_good(states.folder_of(done.output)).optimizer_steps == 2
    (first, second) = sorted(logs.glob("24120801/*"))
    assert NAME in (second / "manifest.json").read_text(encoding="utf-8")
    assert NAME in (first / "train.log").read_text(encoding="utf-8")


def test_a_dry_run_shows_the_name(locale, tmp_path):
    output = tmp_path / NAME
    done = launch("25022601", output, DRY_RUN=1, TRAINER="reference", **locale)
    assert done.code == 0 and f"{NAME}/model_out_25022601" in done.said, done.said[-2000:]
    assert not output.exists()


@pytest.mark.parametrize("where", ["OUTPUT", "LOGS", "TMPDIR", "ARGS"])
def test_a_name_that_is_no_utf8(where, tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xe4"
    given = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
    given |= {b"PROFILE": b"tiny", b"TRAINER": b"reference", b"OUTPUT": os.fsencode(tmp_path / "out")}
    given[where.encode()] = b"--in_json=" + folder if where == "ARGS" else folder
    done = subprocess.run([LAUNCHERS / "24120801.sh"], env=given, capture_output=True, check=False, timeout=120)
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2 and line.startswith("error: ") and "\\xe4" in line and " is not UTF-8; rename" in line
    assert not list(tmp_path.iterdir())
