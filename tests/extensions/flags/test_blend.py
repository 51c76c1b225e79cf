"""What a blend is, is said once: one text for each way to write it, and one line for what is none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.flags import blend
from extensions.flags.blend import Blend


@pytest.mark.parametrize(
    ("text", "names", "ratio"),
    [
        ("blend(25112201, base, 0.5)", ("25112201", "base"), 0.5),
        ("  blend ( base ,25112201@11274 , .85 ) ", ("base", "25112201@11274"), 0.85),
        ("blend(/a b/x (1).safetensors, y.safetensors, 1)", ("/a b/x (1).safetensors", "y.safetensors"), 1.0),
        ("blend(a, 25022601, base, 1e-1)", ("a", "25022601", "base"), 0.1),
    ],
)
def test_a_text_is_read_and_written(text, names, ratio):
    made = blend.of_text(text, "--x")
    assert (made.names, made.ratio) == (names, ratio)
    assert blend.of_text(made.text, "--x") == made and blend.is_blend(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("blend()", "is no blend; give blend(A, B, RATIO)"),
        ("blend(a, b)", "is no blend"),
        ("blend(a, b, 0.5", "is no blend"),
        ("blend(a, b, c, d, 0.5)", "a path with a comma cannot be named there"),
        ("blend(a, b, 1.5)", "1.5 is no ratio from 0"),
        ("blend(a, b, half)", "half is no ratio"),
        ("blend(a, b, nan)", "nan is no ratio"),
        ("blend(, b, 0.5)", "a parent is missing"),
        ("blend(base, base, 0.5)", "name that run, or the base's file"),
        ("blend(base, x, 0.5)", "name that run, or the base's file"),
        ("blend(base, base, 25022601, 0.5)", "base is named twice"),
    ],
)
def test_what_is_none_is_refused_in_one_line(text, said):
    with pytest.raises(UserError) as refused:
        blend.of_text(text, "--pretrained_model_name_or_path")
    assert said in str(refused.value) and str(refused.value).startswith("--pretrained_model_name_or_path")


@pytest.mark.parametrize("text", [None, "", "/a/blend.safetensors", "blend.safetensors", "/out/blend(1).safetensors"])
def test_a_path_is_no_blend(text):
    assert not blend.is_blend(text)


def test_factors_are_those_of_a_weighted_sum_and_of_an_added_difference():
    assert Blend(("a", "b"), 0.25).factors == (0.75, 0.25)
    assert Blend(("a", "b", "c"), 0.25).factors == (1.0, 0.25, -0.25)


@settings(max_examples=30)
@given(st.lists(st.text(min_size=1, max_size=80), min_size=2, max_size=3), st.floats(0, 1))
def test_a_file_has_a_name_that_every_disk_takes(names, ratio):
    name = Blend(tuple(names), ratio).file_name
    assert "/" not in name and len(name.encode()) < 250 and name.startswith("blend-")


def test_different_blends_have_different_files():
    kinds = [Blend(("/a/x", "b"), 0.5), Blend(("/c/x", "b"), 0.5), Blend(("/a/x", "b"), 0.25)]
    assert len({each.file_name for each in kinds}) == 3


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("25112201", ("25112201", None)),
        ("model_out_25112201@11274", ("25112201", 11274)),
        ("x25112201", None),
        ("25112201.safetensors", None),
        ("25112201@", None),
    ],
)
def test_a_number_is_a_run(name, run):
    assert blend.run_of(name) == run


@pytest.mark.parametrize(
    ("path", "run"),
    [
        ("$OUTPUT/model_out_26011101/epoch-000008.safetensors", "26011101"),
        ("model_out_26011101/last.safetensors", "26011101"),
        ("/models/20260111/x.safetensors", ""),
        ("/models/model_out_mine/x.safetensors", ""),
        ("x.safetensors", ""),
        ("", ""),
    ],
)
def test_a_file_in_a_runs_folder_is_that_runs(path, run):
    assert blend.run_beside(path) == run
