"""What a checkpoint says of itself, its run's record, and neither: prediction, schedule, title, description."""

from pathlib import Path

import pytest

from extensions.base.errors import UserError
from extensions.base.manifest import Manifest
from extensions.handing_on import told
from extensions.handing_on.found import Found
from extensions.handing_on.told import Objective
from extensions.model.checkpoint import Header
from extensions.model.folder import AVERAGE, RUN, STEPS
from tests.helpers import checkpoint_files

SPEC = "modelspec.prediction_type"
V, V_ZERO, NOISE = Objective("v", False), Objective("v", True), Objective("epsilon", False)


def found(family="sdxl", marks=(), metadata=None, flags=None, **more) -> Found:
    shapes = checkpoint_files.small(family) | dict.fromkeys(marks, (0,))
    record = None if flags is None else Manifest(run="25022601", flags=dict.fromkeys(flags, True))
    return Found(Header(Path("last.safetensors"), shapes, metadata or {}), record=record, **more)


@pytest.mark.parametrize(
    ("of", "wanted"),
    [
        (found(), NOISE),
        (found(marks=["v_pred"]), V),
        (found(marks=["v_pred", "ztsnr"]), V_ZERO),
        # A marked file knows better than a record of flags: --zero_terminal_snr would have left its mark.
        (found(marks=["v_pred"], flags=["v_parameterization", "zero_terminal_snr"]), V),
        (found(metadata={SPEC: "epsilon"}), NOISE),
        (found(metadata={SPEC: "v"}, flags=["v_parameterization", "zero_terminal_snr"]), V_ZERO),
        (found("sd2", metadata={SPEC: "v"}, flags=["v_parameterization", "zero_terminal_snr", "v2"]), V_ZERO),
        (found("sd2", metadata={SPEC: "v"}, flags=["v_parameterization"]), V),
        (found("sd2", metadata={SPEC: "epsilon"}, flags=["zero_terminal_snr"]), Objective("epsilon", True)),
        (found("sd2", flags=["v_parameterization"]), V),
        (found("sd2", flags=["v2"]), NOISE),
    ],
)
def test_what_it_predicts(of, wanted):
    assert told.objective_of(of) == (wanted, [])


def test_what_nobody_says_is_told_or_refused():
    objective, notes = told.objective_of(found("sd2", metadata={SPEC: "v"}))
    assert objective == V and "nothing says whether" in notes[0]
    with pytest.raises(UserError, match="does not say whether it predicts noise or v"):
        told.objective_of(found("sd2"))
    with pytest.raises(UserError, match="neither noise nor v"):
        told.objective_of(found(marks=["edm_mean"]))


def test_flow_has_the_shift_of_its_samples():
    flow, none = told.objective_of(found(metadata={SPEC: "flow", "sdxl_trainer.flow_shift": "3.0"}))
    assert flow == Objective("flow", False, 3.0) and not none and str(flow) == "flow"
    assert told.metadata_of(found(), flow)[SPEC] == "flow" and flow.marks_in(found().header) == ()
    flow, notes = told.objective_of(found(metadata={SPEC: "flow", "sdxl_trainer.flow_shift": "resolution"}))
    assert flow.flow_shift == 1 and "by resolution" in notes[0]


@pytest.mark.parametrize(("objective", "marks"), [(NOISE, ()), (V, ("v_pred",)), (V_ZERO, ("v_pred", "ztsnr"))])
def test_marks(objective, marks):
    """Of SD2 nobody goes by them: there they are kept true, and not added, as the trainers do."""
    assert objective.marks_in(found().header) == marks
    assert objective.marks_in(found("sd2").header) == ()
    assert objective.marks_in(found("sd2", marks=["v_pred"]).header) == marks


def test_titles():
    upstreams = {"modelspec.title": "Checkpoint@1795000000.0", RUN: "25022601", STEPS: "3890"}
    of = found(metadata=upstreams, flags=[], run="25022601", words="TTE on")
    said = told.metadata_of(of, NOISE)
    assert said["modelspec.title"] == "model_out_25022601, optimizer step 3,890"
    assert said["modelspec.description"] == "TTE on" and said[RUN] == "25022601"
    of = found(metadata=upstreams | {AVERAGE: "0.10"}, flags=[], run="25022601")
    assert told.title_of(of) == "model_out_25022601, optimizer step 3,890, weights averaged (0.10)"
    assert told.title_of(found(metadata={"modelspec.title": "mine"})) == "mine"
    assert told.title_of(Found(Header(Path("a b.safetensors"), {}, {}))) == "a b"


def test_the_runs_own_words_win():
    record = Manifest(flags={"metadata_title": "My model", "metadata_description": "of mine"}, profile="tiny")
    of = Found(Header(Path("last.safetensors"), checkpoint_files.small("sdxl"), {}), "25022601", "TTE on", record)
    said = told.metadata_of(of, NOISE)
    assert (said["modelspec.title"], said["modelspec.description"]) == ("My model", "of mine")
    of = Found(of.header, "25022601", "TTE on", Manifest(profile="tiny"))
    assert told.description_of(of) == "a tiny run on stand-ins: TTE on"


def test_what_is_of_the_file_that_it_was_or_of_nobody_is_left_out():
    said = {"modelspec.hash_sha256": "0x1", "ss_secret": "x", "format": "np", "modelspec.license": "mine",
            SPEC: "epsilon"}  # fmt: skip
    made = told.metadata_of(found(metadata=said), V)
    assert made["format"] == "pt" and made["modelspec.license"] == "mine" and made[SPEC] == "v"
    assert not {"modelspec.hash_sha256", "ss_secret"} & made.keys()
    assert made["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
    assert all(isinstance(text, str) and text for text in made.values())
    assert told.metadata_of(found("sd2"), V)["modelspec.architecture"] == "stable-diffusion-v2-768-v"
