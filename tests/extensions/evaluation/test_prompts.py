"""Prompts as sd-scripts writes them and as TOML; whatever cannot be meant is one line that names its place."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.evaluation import prompts
from extensions.evaluation.prompts import Prompt

LINES = """# a comment

a red fox in snow --n blurry, text --w 832 --h 1216 --s 20 --l 6.5 --d 42
a cat -- and a dog
"""
TOML = """[[prompt]]
text = "a red fox in snow"
negative = "blurry, text"
width = 832
height = 1216
steps = 20
guidance = 6.5
seed = 42
[[prompt]]
text = "a cat -- and a dog"
"""
WANTED = [
    Prompt("a red fox in snow", 832, 1216, "blurry, text", 20, 6.5, 42),
    Prompt("a cat -- and a dog", 1024, 1024, seed=1),
]


@pytest.mark.parametrize(("name", "text"), [("a.txt", LINES), ("a.toml", TOML), ("b.txt", "\ufeff" + LINES)])
def test_both_forms_say_the_same(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert prompts.read(tmp_path / name, "sdxl") == WANTED


@pytest.mark.upstream
def test_a_line_means_what_sd_scripts_takes_it_for(patched, tmp_path):
    from library.train_util import line_to_prompt_dict

    line = LINES.splitlines()[2]
    theirs = line_to_prompt_dict(line)
    assert (theirs["prompt"], theirs["negative_prompt"]) == (WANTED[0].text, WANTED[0].negative)
    assert (theirs["width"], theirs["height"]) == (WANTED[0].width, WANTED[0].height)
    assert (theirs["sample_steps"], theirs["scale"], theirs["seed"]) == (20, 6.5, 42)


def test_sd2_is_drawn_at_its_own_size(tmp_path):
    (tmp_path / "a.txt").write_text("a cat")
    assert prompts.read(tmp_path / "a.txt", "sd2") == [Prompt("a cat", 768, 768)]


BAD = [
    ("a.txt", "a --w 830", "line 1: width '830' is not a multiple of 8"),
    ("a.txt", "a\nb --s 0", "line 2: steps '0' is not a whole number from 1 to 1000"),
    ("a.txt", "a --l nan", "line 1: guidance"),
    ("a.txt", "a --zz 4", "line 1: --zz is unknown; there are n, w, h, s, l, d"),
    ("a.txt", "# nothing\n\n", "has no prompt"),
    ("a.txt", "x" * 70_000, "more than 65,536 bytes"),
    ("a.toml", "[[prompt]]\ntext = ", "is no TOML"),
    ("a.toml", "a = 1", r"is made of \[\[prompt\]\] tables"),
    ("a.toml", "[[prompt]]\nsize = 4", "prompt 1: size is unknown"),
    ("a.toml", "[[prompt]]\nseed = -1", "prompt 1: seed '-1' is not"),
]


@pytest.mark.parametrize(("name", "text", "said"), BAD)
def test_what_cannot_be_meant_is_one_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        prompts.read(tmp_path / name, "sdxl")


def test_a_file_that_is_not_there_or_not_utf8(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        prompts.read(tmp_path / "none.txt", "sdxl")
    (tmp_path / "a.txt").write_bytes("grün".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8"):
        prompts.read(tmp_path / "a.txt", "sdxl")


@pytest.mark.parametrize("name", ["a.txt", "a.toml"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    try:
        assert prompts.read(path, "sdxl")
    except UserError as error:
        assert str(error)
