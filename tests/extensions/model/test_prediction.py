"""What a file's marks say it predicts, runs that train something else, and the marks that runs leave."""

import argparse

import pytest

from extensions.base.errors import UserError
from extensions.model import prediction
from extensions.model.checkpoint import Header

SPEC = "modelspec.prediction_type"
UNMARKED, EPSILON, V_SPEC = {}, {SPEC: "epsilon"}, {SPEC: "v"}


def header(*tensors, metadata=None):
    return Header("base.safetensors", dict.fromkeys(("a.weight", *tensors), (0,)), metadata or {})


@pytest.mark.parametrize(
    ("made", "v", "zero", "says"),
    [
        (header("v_pred"), False, False, "add --v_parameterization"),
        (header("v_pred", metadata=EPSILON), False, False, "its tensor v_pred"),
        (header(metadata=V_SPEC), False, False, "its metadata, modelspec.prediction_type"),
        (header(metadata={SPEC: "v_prediction"}), False, False, "predicts v"),
        (header(metadata=EPSILON), True, True, "take --v_parameterization out"),
        (header("v_pred", "ztsnr"), True, False, "add --zero_terminal_snr"),
        (header("edm_mean", "edm_std"), False, False, "predicts edm"),
        (header(metadata={SPEC: "flow\n\x1b[0m"}), False, False, "predicts flow"),
    ],
)
def test_another_prediction_is_refused_unless_asked_for(made, v, zero, says):
    with pytest.raises(UserError) as error:
        prediction.check(made, "v" if v else "epsilon", zero, change=False)
    assert says in str(error.value) and "--change_prediction" in str(error.value) and str(error.value).isprintable()
    (note,) = prediction.check(made, "v" if v else "epsilon", zero, change=True)
    assert note.startswith("note: base.safetensors")


@pytest.mark.parametrize(
    ("made", "v", "zero"),
    [
        (header(), False, False),
        (header(), True, True),
        (header(metadata=EPSILON), False, False),
        (header(metadata={SPEC: ""}), True, False),
        (header(metadata=V_SPEC), True, True),
        (header("v_pred", metadata=EPSILON), True, False),
        (header("v_pred", "ztsnr"), True, True),
    ],
)
def test_the_same_or_no_mark_passes(made, v, zero):
    assert prediction.check(made, "v" if v else "epsilon", zero, change=False) == []


@pytest.mark.parametrize(
    ("made", "wanted", "says"),
    [
        (header(metadata={SPEC: "flow"}), "epsilon", "predicts flow (says its metadata, modelspec.prediction_type)"),
        (header(metadata={SPEC: "flow"}), "v", "give --objective=flow"),
        (header(metadata=EPSILON), "flow", "give --objective=epsilon"),
        (header("v_pred", "ztsnr"), "flow", "give --objective=v"),
        (header("edm_mean"), "flow", "give another base model"),
    ],
)
def test_flow_is_another_prediction(made, wanted, says):
    with pytest.raises(UserError) as error:
        prediction.check(made, wanted, False, change=False)
    assert says in str(error.value)
    assert prediction.check(made, wanted, False, change=True)


def test_flow_goes_on_from_flow_and_from_what_is_not_marked():
    for made in (header(), header(metadata={SPEC: "flow"})):
        assert prediction.check(made, "flow", False, change=False) == []


def test_a_schedule_that_is_new_to_the_file_is_told():
    (note,) = prediction.check(header("v_pred"), "v", True, change=False)
    assert "without ztsnr" in note


@pytest.mark.parametrize(
    ("v", "zero", "names"),
    [(False, False, ()), (True, False, ("v_pred",)), (True, True, ("v_pred", "ztsnr")), (False, True, ())],
)
def test_the_marks_of_a_run(v, zero, names):
    args = argparse.Namespace(v_parameterization=v, zero_terminal_snr=zero)
    assert prediction.marks_of(args, "sdxl", {}) == prediction.marks_of(args, "sd2", {"v_pred"}) == names
    assert prediction.marks_of(args, "sd2", {}) == ()
