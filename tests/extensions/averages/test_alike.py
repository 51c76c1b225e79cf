"""What can be blended is known from headers: what does not fit is one line that names both files."""

import pytest

from extensions.averages import alike
from extensions.base.errors import UserError
from extensions.model import prediction
from extensions.model.checkpoint import TE2_SDXL, UNET, read_header
from tests.helpers.checkpoint_files import entries, small, write

SPEC = prediction.METADATA


def checkpoint(path, family="sdxl", metadata=None, default="F16", marks=(), dtypes=None, **changed):
    """A stand-in of zeros. changed: {name: shape}, or None for a tensor that it has not."""
    shapes = {name: shape for name, shape in (small(family) | changed).items() if shape is not None}
    return read_header(write(path, entries(shapes | dict.fromkeys(marks, (0,)), dtypes, default), metadata))


@pytest.fixture
def two(tmp_path):
    return lambda **more: [checkpoint(tmp_path / "a.safetensors"), checkpoint(tmp_path / "b.safetensors", **more)]


def test_what_both_have_is_blended_and_the_rest_is_told(two):
    found = two(**{TE2_SDXL + "logit_scale": None, "model_ema.decay": (1,)})
    laid = alike.layout(found)
    assert set(laid.tensors) == set(small("sdxl")) - {TE2_SDXL + "logit_scale"} - set(extras(found[0]))
    assert {dtype for _, dtype in laid.tensors.values()} == {"F16"}
    assert any("logit_scale" in note for note in laid.notes) and any("EMA copies" in note for note in laid.notes)


def extras(header) -> list[str]:
    return [name for name in header.shapes if name.endswith("position_ids")]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"family": "sd2"}, "is SDXL, .*b.safetensors is SD2; blend two of a kind"),
        ({UNET + "out.2.bias": None}, "b.safetensors is not SDXL as published: of its tensors 1 of .* missing"),
        ({"stranger": (2,)}, r"1 too many \(stranger\)"),
        ({UNET + "out.2.bias": (5,)}, "b.safetensors is not SDXL as published"),
        (
            {"default": "BF16"},
            "different dtypes: .*a.safetensors in F16 and .*b.safetensors in BF16; make blend takes",
        ),
        ({"default": "F8_E4M3"}, "is in F8_E4M3, of which no blend is made"),
    ],
)
def test_what_does_not_fit_is_refused(two, more, line):
    with pytest.raises(UserError, match=line):
        alike.layout(two(**more))


def test_models_of_different_sizes(tmp_path):
    """Each is whole, and they are not of one size."""
    from extensions.model.shapes import prefixed
    from extensions.model.shapes_vae import vae_shapes

    wide = prefixed("first_stage_model.", vae_shapes(64))
    found = [checkpoint(tmp_path / "a.safetensors"), checkpoint(tmp_path / "b.safetensors", **wide)]
    with pytest.raises(UserError, match=r"are of different sizes: \d+ tensors differ in shape, first_stage_model"):
        alike.layout(found)


def test_a_dtype_is_given_for_all(two):
    laid = alike.layout(two(default="BF16"), dtype="fp32")
    assert {dtype for _, dtype in laid.tensors.values()} == {"F32"}


@pytest.mark.parametrize(("other", "wide"), [("F16", "F16"), ("BF16", "F32"), ("F32", "F32"), ("F64", "F64")])
def test_the_widest_dtype_holds_what_each_parent_does(two, other, wide):
    laid = alike.layout(two(default=other), alike.WIDEST)
    assert {dtype for _, dtype in laid.tensors.values()} == {wide}


V, EPS = {SPEC: "v"}, {SPEC: "epsilon"}
BOTH = prediction.MARKS


@pytest.mark.parametrize(
    ("first", "second", "marks", "said"),
    [
        ((None, ()), (None, ()), (), None),
        ((EPS, ()), (None, ()), (), "epsilon"),
        ((V, BOTH), (V, BOTH), BOTH, "v"),
        ((V, BOTH[:1]), (None, ()), BOTH[:1], "v"),
    ],
)
def test_the_blend_is_marked_as_its_parents_are(tmp_path, first, second, marks, said):
    found = [
        checkpoint(tmp_path / f"{number}.safetensors", metadata=metadata, marks=names)
        for number, (metadata, names) in enumerate((first, second))
    ]
    laid = alike.layout(found)
    assert (laid.marks, laid.metadata.get(SPEC)) == (marks, said)


def test_parents_that_disagree_need_a_word(tmp_path):
    found = [
        checkpoint(tmp_path / "a.safetensors", metadata=EPS),
        checkpoint(tmp_path / "b.safetensors", metadata=V, marks=BOTH),
    ]
    line = r"not predict the same: a.safetensors noise \(epsilon\), b.safetensors v with zero terminal SNR; give PRED"
    with pytest.raises(UserError, match=line):
        alike.layout(found)
    for word, marks in (("epsilon", ()), ("v", BOTH[:1]), ("v,ztsnr", BOTH), ("flow", ())):
        laid = alike.layout(found, predicts=word)
        assert (laid.marks, laid.metadata[SPEC]) == (marks, word.partition(",")[0])
    with pytest.raises(UserError, match="PREDICTS=edm is unknown"):
        alike.layout(found, predicts="edm")


def test_a_run_s_settings_in_a_word():
    said = [("epsilon", False), ("epsilon", True), ("v", False), ("v", True), ("flow", False)]
    assert [alike.predicted(*each) for each in said] == ["epsilon", "epsilon", "v", "v,ztsnr", "flow"]


def test_metadata_that_all_parents_have_stay_and_what_is_of_one_file_goes(tmp_path):
    alike_ = {"modelspec.architecture": "x", "sdxl_trainer.run": "1", "sdxl_trainer.started": "s", "ss_seed": "1"}
    found = [
        checkpoint(tmp_path / "a.safetensors", metadata=alike_ | {"modelspec.resolution": "1"}),
        checkpoint(tmp_path / "b.safetensors", metadata=alike_ | {"modelspec.resolution": "2"}),
    ]
    assert alike.layout(found).metadata == {"modelspec.architecture": "x"}
