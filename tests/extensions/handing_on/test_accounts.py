"""The four accounts of a run: the words against what a person has read in them, the records against other records."""

import re

import pytest

from extensions.handing_on import accounts
from extensions.logbook import header, registry
from extensions.plan import recorded
from tests.helpers.expected_runs import RUNS

# Where a person has chosen between words that contradict each other, knows of another line of the logbook, or has
# read which checkpoint a name means.
CHOSEN = {
    *((run, "base") for run in ("25112101", "26011101", "26011102", "26011501")),
    ("25012301", "text encoders"),
    ("24122002", "rate of the U-Net"),
    ("24122101", "rate of the text encoders"),
    *((run, f"rate of the {model}") for run in ("25031501", "25031504") for model in ("U-Net", "text encoders")),
}

WITHOUT_A_LINE = ["26020101", "26020102"]


def words(run: str) -> dict[str, str]:
    head = header.read(registry.LAUNCHERS / f"{run}.sh")
    return accounts.of_words(run, head.words, head.defaults)


@pytest.mark.parametrize("run", RUNS)
def test_words_are_read_as_a_person_reads_them(run):
    said, want = words(run), RUNS[run]
    expected = {
        "base": want.base, "data": want.data.removesuffix("_sd2"), "GPUs": str(want.gpus), "U-Net %": str(want.unet),
        "text encoders": want.tte, "optimizer": want.optimizer, "accumulation": str(want.ga),
        "rate of the U-Net": accounts.number(want.lr_unet),
        "rate of the text encoders": accounts.number(want.lr_te or 0),
        "RAM disk": "on" if want.ramdisk else "", "NUMA node": "" if want.numa is None else str(want.numa),
        "text": "a1111" if want.chunks else "", "first step": str(want.start), "last step": str(want.stop),
        "objective": want.objective, "--min_snr_gamma": str(want.min_snr),
    }  # fmt: skip
    wrong = {
        topic: (said[topic], value)
        for topic, value in expected.items()
        if topic in said and said[topic] != value and (run, topic) not in CHOSEN
    }
    assert wrong == ({"last step": ("1EP", "None")} if run == "25041301" else {})


@pytest.mark.parametrize("run", [run for run in RUNS if run not in WITHOUT_A_LINE])
def test_words_say_what_every_line_of_the_logbook_says(run):
    assert {"base", "data", "GPUs", "optimizer", "log name"} <= set(words(run))
    assert bool(RUNS[run].stop or RUNS[run].start) == ("first step" in words(run))
    assert RUNS[run].chunks == ("text" in words(run))
    assert RUNS[run].objective == words(run).get("objective", "")


@pytest.mark.parametrize("run", WITHOUT_A_LINE)
def test_the_logbook_says_nothing_of_a_run_without_a_line(run):
    """Its session's defaults are of other runs."""
    assert words(run) == {"account": "none"}
    found = accounts.of(registry.read(registry.LAUNCHERS / f"{run}.sh"))
    assert found["flags"]["account"] == "a command" and not found["log"]


@pytest.mark.parametrize(
    ("said", "epochs"),
    [("2EP base, 10EP. Failed", "10"), ("8+49EP.", "8+49"), ("v-pred to 2.5EP; 1EP", "1"), ("eps, 0-1EP", None)],
)
def test_epochs_are_told_from_names_of_models(said, epochs):
    assert accounts.of_words("1", said, "SDXL, AK-Evo-2EP base").get("epochs") == epochs


def test_recorded_files_have_the_logbooks_names():
    assert accounts.alias("x10a-AstolfoKarmix-25083001-3e3aea3.safetensors") == "AK-NIL-1.2"
    assert accounts.alias("x255c-AstolfoMix-25022801-1458190.safetensors") == "255c"
    assert accounts.alias("epoch-000005-05.safetensors") == "epoch-000005-05.safetensors"


def test_struck_words_are_not_said():
    found = accounts.of_words("1", "Lion. 6k dataset. ~~Was testing CAME and C-Lion.~~", "SDXL, 255c base, 4GPU")
    assert (found["optimizer"], found["base"], found["GPUs"]) == ("Lion", "255c", "4")


def test_there_is_a_record_of_each_run():
    assert set(accounts.recorded()) == set(RUNS)
    logs = {run: row["logs"] for run, row in accounts.recorded().items() if row["logs"]}
    short = {run: [(log["log"], log["steps"], log["hours"]) for log in found] for run, found in logs.items()}
    planned = {run: [(log.log, log.steps, log.hours) for log in found] for run, found in recorded.read().logs.items()}
    assert short == planned


@pytest.mark.parametrize("run", RUNS)
def test_a_header_cites_the_same_figures(run):
    """`# Record:` of a launcher was written by a person who had the records."""
    said = header.read(registry.LAUNCHERS / f"{run}.sh").record
    row = accounts.recorded()[run]
    for steps, hours in re.findall(r"(\d+) (?:of \d+ )?steps (?:\([^)]*\) )?in ([\d.]+) h", said):
        assert (int(steps), float(hours)) in [(log["steps"], log["hours"]) for log in row["logs"]]
    for loss in re.findall(r"mean loss (0\.\d+)", said):
        assert float(loss) in [log["mean_loss"] for log in row["logs"]]
    assert ("command" in row) == (said != "none")


def test_no_folder_of_a_machine_is_in_the_record():
    text = accounts.FILE.read_text(encoding="utf-8")
    assert not re.search(r"[A-Za-z]:\\|/home/|/mnt/|/run/|\\\\", text)
