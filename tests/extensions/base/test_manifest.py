"""The record of a run: read back as it was written, older ones too, others refused in one line."""

import json
from dataclasses import asdict, fields
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base import manifest
from extensions.base.errors import UserError
from extensions.base.manifest import Manifest

NAMES = [field.name for field in fields(Manifest)]
# What a folder's reader may rely on; a name that goes is a change of the format.
FIELDS = {
    "run", "started", "profile", "parent", "trainer", "sd_scripts_commit", "patch_series_sha256", "script",
    "extensions", "flags", "processes", "machines", "numa_node", "ramdisk", "command", "project_commit",
    "project_changes", "packages", "hardware", "base_model", "metadata", "ended", "exit_code", "trainable_parameters",
    "images", "data_fingerprint", "checkpoints", "version",
}  # fmt: skip
RECORD = Manifest(
    run="25022601", started="2026-01-02T03:04:05+00:00", profile="full", trainer="sd-scripts", script="sdxl_train.py",
    extensions=["unet_percent", "record_run"], flags={"v2": True, "unet_percent": "71", "optimizer_args": ["a=1"]},
    processes=4, machines={"count": 1, "rank": 0}, command=["accelerate", "launch", "a b"],
    hardware={"gpus": ["RTX 3090"] * 4, "memory_bytes": 2**37},
)  # fmt: skip
TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
BY_KIND = {
    str: TEXT,
    int: st.integers(),
    str | None: st.none() | TEXT,
    int | None: st.none() | st.integers(),
    list[str]: st.lists(TEXT, max_size=3),
    dict[str, str]: st.dictionaries(TEXT, TEXT, max_size=3),
    dict[str, int]: st.dictionaries(TEXT, st.integers(), max_size=3),
    dict[str, int] | None: st.none() | st.dictionaries(TEXT, st.integers(), max_size=3),
    dict[str, Any]: st.dictionaries(TEXT, JSON, max_size=3),
}
VALUES = {name: BY_KIND[kind] for name, kind in get_type_hints(Manifest).items() if name != "version"}


def test_the_fields_of_the_record():
    assert set(NAMES) == FIELDS
    assert json.loads(RECORD.to_json()) == asdict(RECORD)


def test_written_and_read(tmp_path):
    assert manifest.read(None) is None and manifest.read(tmp_path) is None
    manifest.write(tmp_path, RECORD)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert manifest.read(tmp_path) == manifest.read(str(tmp_path)) == RECORD


@given(st.fixed_dictionaries(VALUES))
def test_any_values_come_back(values):
    made = Manifest(**values)
    text = made.to_json()
    assert Manifest.from_json(text, "here") == made and text.endswith("\n")


@given(
    st.sets(st.sampled_from([name for name in NAMES if name != "version"])), st.dictionaries(TEXT, JSON, max_size=3)
)
def test_of_an_older_record_the_known_keys_are_taken(missing, more):
    """Keys that there are no more are passed over, those that were not there yet are as in a new record."""
    found = {name: value for name, value in asdict(RECORD).items() if name not in missing}
    made = Manifest.from_json(json.dumps({key: more[key] for key in more.keys() - FIELDS} | found), "here")
    assert made == Manifest(**found)


def test_a_record_of_before_versions_were_counted():
    found = {name: value for name, value in asdict(RECORD).items() if name != "version"}
    assert Manifest.from_json(json.dumps(found), "here") == RECORD


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_another_version_is_one_line(version):
    text = json.dumps(asdict(RECORD) | {"version": version, "more": [1]})
    with pytest.raises(
        UserError, match=rf"^a/manifest.json is a record of version {version}, .* reads 1; update it$"
    ):
        Manifest.from_json(text, "a/manifest.json")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"run"',
        b"\0",
        b"[" * 100_000,
        b'{"run": ' * 100_000,
        b"\xff\xfe",
        b"\x89PNG\r\n",
    ],
    ids="{!r:.12}".format,
)
def test_what_is_no_record_is_one_line_with_its_path(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match="manifest.json is not the record of a run; restore it, or") as caught:
        manifest.read(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_what_is_known_later_is_added(tmp_path):
    manifest.write(tmp_path, RECORD)
    manifest.update(tmp_path, images=6224, trainable_parameters={"U-Net": 5})
    manifest.update(tmp_path, ended="2026-01-02T04:00:00+00:00", exit_code=75)
    found = manifest.read(tmp_path)
    assert (found.images, found.trainable_parameters, found.exit_code) == (6224, {"U-Net": 5}, 75)
    added = ("images", "trainable_parameters", "ended", "exit_code")
    assert asdict(found) | dict.fromkeys(added) == asdict(RECORD)


def test_a_record_is_begun_where_there_is_none(tmp_path):
    manifest.update(tmp_path, images=20)
    assert manifest.read(tmp_path) == Manifest(images=20)


def test_a_record_that_is_damaged_is_not_begun_anew(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="is not the record of a run"):
        manifest.update(tmp_path, exit_code=0)
    assert (tmp_path / "manifest.json").read_text() == "{"


def test_what_is_not_a_field_is_not_added(tmp_path):
    with pytest.raises(TypeError):
        manifest.update(tmp_path, exit_kode=0)
    assert not list(tmp_path.iterdir())
