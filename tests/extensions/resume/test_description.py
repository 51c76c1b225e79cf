"""state.json: read back as it was written, and refused in one line where it says less, or something else."""

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.base.sealed import opened
from extensions.resume import states
from extensions.resume.description import Description

COUNTS = ("optimizer_steps", "micro_steps", "samples", "data_steps", "epoch", "written_ns")
# As states of before are, without a digest: one whose content was changed by hand has a wrong one.
GOOD = opened(
    json.loads(
        Description(
            optimizer_steps=3,
            run="25031101",
            skipped=[[4, 2, "id4"]],
            made_with={"data": "d", "flags": {"seed": "1"}},
        ).to_json()
    )
)
KEYS = st.text(max_size=8)
NAMES = st.from_regex(r"[\w-]{1,30}\.safetensors", fullmatch=True)
FILES = st.dictionaries(
    NAMES, st.fixed_dictionaries({"bytes": st.integers(0, 2**40), "xxh3_128": st.text(max_size=8)})
)
SKIPS = st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40), KEYS).map(list), max_size=3)


@given(
    st.tuples(*(st.integers(0, 10**9) for _ in COUNTS)),
    st.integers(),
    st.none() | st.text(max_size=8),
    SKIPS,
    st.dictionaries(KEYS, KEYS | st.integers() | st.dictionaries(KEYS, KEYS)),
    FILES,
)
def test_what_is_written_is_read(counts, seed, run, skipped, made_with, files):
    made = Description(
        **dict(zip(COUNTS, counts, strict=True)),
        seed=seed,
        run=run,
        skipped=skipped,
        made_with=made_with,
        files=files,
    )
    assert Description.from_json(made.to_json()) == made


def test_keys_that_a_later_program_adds_do_not_matter():
    assert Description.from_json(json.dumps(GOOD | {"more": 1})) == Description.from_json(json.dumps(GOOD))


def written(folder, text: str):
    """A folder with that description and no other file."""
    path = folder / "step00000003"
    path.mkdir()
    (path / "state.json").write_text(text)
    return path


def refused(folder, text: str) -> str:
    """The line for a state with that description, which is passed over among others."""
    path = written(folder, text)
    with pytest.raises(UserError) as caught:
        states.read(path)
    line = str(caught.value)
    assert "\n" not in line and str(path) in line and len(line) < 300
    assert states.found(folder) == ([], [line])
    return line


@pytest.mark.parametrize("name", [field.name for field in fields(Description) if field.name != "version"])
def test_a_field_that_is_missing_is_named(tmp_path, name):
    text = json.dumps({key: value for key, value in GOOD.items() if key != name})
    assert f"state.json is damaged (it has no {name}); take an older state" in refused(tmp_path, text)


def test_without_a_version_it_is_none(tmp_path):
    text = json.dumps({key: value for key, value in GOOD.items() if key != "version"})
    assert "is not a training state" in refused(tmp_path, text)


@pytest.mark.parametrize(
    "value", [-1, 2**63, 10**400, 1.5, 3.0, "3", None, True, [3], {}], ids=lambda v: f"{v!r:.20}"
)
@pytest.mark.parametrize("name", COUNTS)
def test_a_count_is_a_number_that_a_run_can_reach(tmp_path, name, value):
    assert f"state.json is damaged ({name} is " in refused(tmp_path, json.dumps(GOOD | {name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "1"),
        ("seed", None),
        ("run", 25031101),
        ("skipped", {}),
        ("skipped", "id4"),
        ("skipped", None),
        ("made_with", []),
        ("made_with", "sd-scripts"),
        ("files", []),
        ("files", None),
        ("files", {"a.safetensors": 5}),
        ("files", {"a.safetensors": {"bytes": 5}}),
        ("files", {"a.safetensors": {"xxh3_128": "ab"}}),
        ("files", {"a.safetensors": {"bytes": "5", "xxh3_128": "ab"}}),
        ("files", {"a.safetensors": {"bytes": True, "xxh3_128": "ab"}}),
    ],
)
def test_another_kind_is_named_with_what_stands_there(tmp_path, name, value):
    line = refused(tmp_path, json.dumps(GOOD | {name: value}))
    assert f"state.json is damaged ({name}" in line and "take an older state" in line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"state"',
        "[" * 100_000,
        '{"version": ' * 100_000,
        '{"version": 1',
        "\0",
        "{'a': 1}",
    ],
    ids=lambda text: f"{text!r:.20}",
)
def test_what_is_no_description_at_all(tmp_path, text):
    assert "is not a training state (no readable state.json)" in refused(tmp_path, text)


def test_bytes_that_are_no_text(tmp_path):
    path = written(tmp_path, "")
    (path / "state.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not a training state"):
        states.read(path)


@pytest.mark.parametrize("version", [0, 2, 99, "1", None, [1]])
def test_another_version(tmp_path, version):
    assert f"is a state of version {version!r}, this program reads 1" in refused(
        tmp_path, json.dumps(GOOD | {"version": version})
    )


def test_an_entry_of_the_folder_that_is_a_file_is_passed_over(tmp_path):
    (tmp_path / "step00000007").write_text("not a folder")
    good = states.commit(states.begin(tmp_path, 3), Description(optimizer_steps=3), {})
    told = []
    assert states.newest_good(tmp_path, told.append) == good
    assert len(told) == 1 and "step00000007 is not a training state" in told[0] and "\n" not in told[0]
