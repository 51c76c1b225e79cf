"""Other fields of the metadata: as they stand there, beside rows that stay what they are without them."""

import json
import math
import pickle
import re
import shlex

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data import index
from extensions.data.index import __main__ as command
from extensions.data.index import fields
from extensions.data.index.build import build
from extensions.data.index.layout import index_of
from extensions.data.index.policies import Policies
from extensions.data.index.reader import Index
from tests.helpers.index_cases import entry

NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
STRICT = Policies()
WORDS = st.text(st.characters(codec="utf-8"), max_size=9).map(str.strip)


def made(path, *names, policies=STRICT) -> Index:
    build([path], index_of(path), None, policies, fields=names)
    found = Index(index_of(path))
    found.take_fields(dict.fromkeys(names, ""))
    return found


@given(
    st.lists(st.none() | NUMBERS, min_size=1, max_size=9).filter(lambda values: any(v is not None for v in values))
)
def test_numbers_are_those_of_the_metadata(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("meta") / "meta_lat.json"
    path.write_text(json.dumps({str(i): entry() | {"score": value} for i, value in enumerate(values)}))
    read = made(path, "score")
    assert [dict(read[i].fields).get("score") for i in range(len(values))] == values
    assert read.facts.fields[0].words is None


@given(st.lists(st.none() | WORDS, min_size=1, max_size=9).filter(any))
def test_words_are_those_of_the_metadata(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("meta") / "meta_lat.json"
    path.write_text(json.dumps({str(i): entry() | {"rating": value} for i, value in enumerate(values)}))
    read = made(path, "rating")
    assert [dict(read[i].fields).get("rating") for i in range(len(values))] == [value or None for value in values]


def test_rows_and_fingerprints_are_those_without_and_two_fields_stand_beside(written, small_parts):
    pairs = [
        (str(i), entry(7 if i == 4 else 64) | {"score": i / 4, "rating": "se"[i % 2]} | {"x": {}}) for i in range(11)
    ]
    path = written(pairs)
    skip = Policies(bad_size="skip")
    plain = made(path, policies=skip)
    content = plain.path.read_bytes()
    read = made(path, "score", "rating", policies=skip)
    kept = [i for i in range(11) if i != 4]
    assert [dict(read[row].fields) for row in range(10)] == [{"score": i / 4, "rating": "se"[i % 2]} for i in kept]
    assert (read.fingerprint, read.keys_fingerprint) == (plain.fingerprint, plain.keys_fingerprint)
    assert b"fields" not in content and plain.fields_fingerprint == "" != read.fields_fingerprint
    table = pa.ipc.open_file(read.path).read_all()
    assert table.column("field:score").to_pylist() == [i / 4 for i in kept]
    assert table.schema.field("field:rating").type == pa.int16(), "2 bytes a row"
    assert pickle.loads(pickle.dumps(read))[9].fields == read[9].fields
    read.take_fields({})
    assert read[9].fields == () and read[9] == plain[9]


def test_a_mixed_field_is_words(written):
    read = made(written([("a", entry() | {"r": 7}), ("b", entry() | {"r": "x"}), ("c", entry() | {"r": True})]), "r")
    assert [dict(read[i].fields)["r"] for i in range(3)] == ["7", "x", "true"]


def test_the_content_of_a_field_has_a_fingerprint(written):
    prints = []
    for number, value in enumerate((0.5, 0.25, "0.5")):
        path = written([("a", entry() | {"s": value}), ("b", entry() | {"s": 1})], f"{number}.json")
        prints.append(made(path, "s").fields_fingerprint)
    assert len(set(prints)) == 3


def test_damaged_values_are_refused(written, small_parts):
    path = written([(str(i), entry() | {"s": 0.1234567 + i}) for i in range(9)])
    made(path, "s")
    content, wanted = index_of(path).read_bytes(), np.array([0.1234567 + 5]).tobytes()
    assert content.count(wanted) == 1
    index_of(path).write_bytes(content.replace(wanted, np.array([0.1234568 + 5]).tobytes()))
    read = Index(index_of(path))
    assert read[5].key == "5", "a run that does not ask for it reads on"
    read.take_fields({"s": ""})
    assert dict(read[1].fields) == {"s": 1.1234567}
    with pytest.raises(UserError, match="the field s is damaged; copy it again"):
        read[5]


@pytest.mark.parametrize(
    ("value", "says"),
    [([1], "neither a number nor a text"), ("x" * 201, "more than 200 letters"), (None, "no image has the field s")],
)
def test_what_is_no_field_is_one_line(written, value, says):
    path = written([("a", entry() | {"s": value})])
    with pytest.raises(UserError, match=says) as caught:
        made(path, "s")
    assert "\n" not in str(caught.value) and not index_of(path).exists()


def test_too_many_words(written, monkeypatch):
    monkeypatch.setattr(fields, "MOST", 3)
    path = written([(str(i), entry() | {"s": f"w{i}"}) for i in range(4)])
    with pytest.raises(UserError, match="the field s has 4 different texts; .* at most 3"):
        made(path, "s")


def test_a_run_builds_it_with_its_fields_and_else_is_told_the_command(written, capsys):
    pairs = [("a b", entry() | {"score": 1.5}), ("b", entry() | {"score": None, "rating": "e"})]
    path = written(pairs, "my meta.json", latents=["a b", "b"])
    latents = path.parent / "latents"
    first = index.open_for(path, latents, {"score": ""})
    assert dict(first[0].fields) == {"score": 1.5} and first[1].fields == ()
    for named in (path, first.path):
        with pytest.raises(UserError, match="has no column of the field rating; make it again: make index") as caught:
            index.open_for(named, latents, {"score": "", "rating": ""})
        assert "\n" not in str(caught.value)
    words = dict(word.split("=", 1) for word in shlex.split(str(caught.value).partition("make index ")[2]))
    assert words == {"META": shlex.quote(str(path)), "DATA": "…", "FIELDS": "score,rating"}
    command.main([words["META"], f"--data={latents}", f"--fields={words['FIELDS']}"])
    assert index.open_for(path, latents, {"rating": ""})[1].fields == (("rating", "e"),)
    with pytest.raises(UserError, match=re.escape("the field score has numbers; give tags")):
        index.open_for(path, latents, {"score": "give tags"})


def test_make_index_keeps_the_fields_that_it_has(written, capsys):
    path = written([("a", entry() | {"s": 1, "r": "x"})])
    for words, wanted in (
        ("--fields=s", "s"),
        ("--fields=", "s"),
        ("--fields=r , s", "sr"),
        ("--empty_text=skip", "sr"),
    ):
        command.main([str(path), words])
        assert "".join(each.name for each in Index(index_of(path)).facts.fields) == wanted
    index_of(path).write_bytes(b"damaged")
    assert dict(index.open_for(path, None, {"r": ""})[0].fields) == {"r": "x"}
    assert [each.name for each in Index(index_of(path)).facts.fields] == ["s", "r"]


def test_a_pass_over_other_fields_begins_anew(written, small_parts, monkeypatch):
    path = written([(str(i), entry(7 if i == 9 else 64) | {"s": i, "r": -i}) for i in range(10)])
    for name, sign in (("s", 1), ("r", -1)):
        with pytest.raises(UserError, match="bad sizes"):  # the parts stay
            made(path, name)
        read = made(path, name, policies=Policies(bad_size="skip"))
        assert [dict(read[i].fields)[name] for i in range(9)] == [sign * i for i in range(9)]
        assert not any(math.isnan(dict(read[i].fields)[name]) for i in range(9))
