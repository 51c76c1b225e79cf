"""The README's own commands, typed as they stand; and that what the pages name is there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from extensions.base.paths import ROOT
from extensions.model.checkpoint import read_header
from extensions.standins.photos import photographs
from extensions.upstream import git

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [path for path in ROOT.rglob("*.md") if not {"sd-scripts", "sd-scripts-runtime", ".venv"} & set(path.parts)]
# The clone's .venv is this one's: nothing is to be installed anew.
THERE = " ".join(f"-o .venv/{name}" for name in (".installed", ".standins", ".dev"))


def commands(section: str) -> list[str]:
    """The indented lines of a section."""
    text = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


@pytest.fixture
def clone(tmp_path) -> Path:
    """The files of this work tree in a folder of their own, with the packages that are installed here."""
    folder = tmp_path / "sdxl-trainer"
    listed = git.text(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


@pytest.fixture
def home(tmp_path, standins) -> Path:
    """A person's folder: a base model, and photographs with a text beside each."""
    folder = tmp_path / "home"
    (folder / "photographs").mkdir(parents=True)
    shutil.copy(standins["sdxl"], folder / "sd_xl_base.safetensors")
    for photo in photographs()[:3]:
        Image.open(photo.path).convert("RGB").save(folder / "photographs" / f"{photo.id}.jpg")
        (folder / "photographs" / f"{photo.id}.txt").write_text(photo.tags)
    return folder


def test_own_photographs_to_a_model(clone, home, standins):
    """On a processor, with a small base model, by the trainer that needs no clone; else as it stands."""
    typed = commands("Your own photographs to a model")
    assert 1 < len(typed) <= 8
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("BASE_", "META_", "DATA_"))
    }
    variables |= {"HOME": str(home), "CPU": "1", "TRAINER": "reference", "MAKEFLAGS": THERE}
    variables |= {"ARGS": "--max_train_epochs=2"}
    for command in typed:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=clone,
            env=variables,
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "last.safetensors" in done.stdout.split()
    last = next((clone / "sd-scripts-runtime" / "output").rglob("last.safetensors"))
    base, made = read_header(standins["sdxl"]), read_header(last)
    # Loaders know SDXL by the names and shapes of its tensors: those of the file that it began with, less a buffer
    # that each of them makes by itself.
    assert made.shapes == {name: shape for name, shape in base.shapes.items() if not name.endswith("position_ids")}
    assert made.family == "sdxl"


def test_the_readme_is_for_the_person_who_trains():
    order = re.findall(r"^## (.*)$", README, re.M)
    assert order == [
        "Try it", "Your own photographs to a model", "A run of the logbook, at full size", "Stop, and go on",
        "What a run leaves", "To read more",
    ]  # fmt: skip
    assert 700 < len(README.split()) < 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_verbs_are_in_the_makefile(page):
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    said = re.findall(r"(?:^ {4}|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M)
    assert set(said) <= verbs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page):
    for name in re.findall(r"`((?:extensions|tests|patches|benchmarks|docs)/[\w/.-]+\.\w+)`", page.read_text()):
        assert (ROOT / name).exists(), name
