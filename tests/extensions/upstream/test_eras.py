"""The table of upstream's eras: what a row says. The runs themselves are for `make port-patches`."""

import pytest

from extensions.upstream import eras, git, patches, submodule

PIN = (1.0, 0.5)


@pytest.mark.parametrize(
    ("losses", "said", "says"),
    [
        (PIN, "", "the pin's losses, to the last bit"),
        ((1.0, 0.500001), "", "1.000000, 0.500001: the pin's within 2.0e-06"),
        ((), "line\nerror: sd-scripts has no x | y\nlast", "fails: error: sd-scripts has no x / y"),
        ((), "", "fails: no word"),
    ],
)
def test_a_run_is_held_against_the_pins(losses, said, says):
    assert eras.verdict(losses, PIN, said) == says


def test_the_first_shows_its_own():
    assert eras.verdict(PIN, (), "") == "1.000000, 0.500000"


def row(**changes):
    facts = {
        "name": "the pin",
        "commit": "1" * 40,
        "date": "2026-01-19",
        "patches": "clean",
        "run": "runs",
        "needs": "none",
    }
    return eras.Row(**facts | {"seams": "21 of 21, none silent", "losses": PIN} | changes)


def test_a_silent_seam_or_no_run_is_not_sound():
    assert eras.sound(row()) and not eras.sound(row(losses=())) and not eras.sound(row(seams="did not call 2 of 21"))


def test_a_line_has_the_cells_of_the_head():
    assert row().line().count("|") == eras.HEAD.splitlines()[0].count("|")


@pytest.fixture
def requirements(upstream):
    (upstream / "requirements.txt").write_text(
        "accelerate==1.6.0\ndiffusers[torch]==0.32.1\nftfy==6.3.1\n# torch==1\n"
    )
    git.output(upstream, "add", "-A")
    git.output(upstream, "commit", "-q", "-m", "needs")
    return upstream


def test_what_a_commit_needs_is_what_it_pins(requirements):
    assert (
        eras.needs_of(requirements, git.output(requirements, "rev-parse", "HEAD"))
        == "accelerate 1.6.0, diffusers 0.32.1"
    )
    assert eras.needs_of(requirements, git.output(requirements, "rev-parse", "HEAD~1")) == "none"


@pytest.mark.upstream
def test_the_series_applies_to_the_pin_and_its_seams_are_told(patched):
    source, pin = submodule.ensure(), submodule.pin()
    assert eras.patches_of(source, pin, patches.attempt) == "clean"
