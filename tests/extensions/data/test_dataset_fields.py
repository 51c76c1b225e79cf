"""Other fields of the metadata in training: what texts are made of, part of what the data are."""

import json

import pytest

from extensions import manager
from extensions.base.errors import UserError
from extensions.data.dataset import LatentsDataset
from extensions.evaluation.texts import COLUMNS, texts_of, undrawn
from tests.helpers import npz_sets
from tests.helpers.dual_tag_cases import ALL_DRAWS, flags

SCORED = {"dual_tag_score_field": "score", "dual_tag_score_tags": "0.5=good,0=bad", "dual_tag_score_share": 0.5}


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """A function that opens a set of twelve, each with a score, with flags of dual_tag."""
    meta, data = npz_sets.make(tmp_path / "set")

    def opens(scores=range(12), **given):
        entries = json.loads(meta.read_text())
        for entry, score in zip(entries.values(), scores, strict=True):
            entry["score"] = score / 11
        meta.write_text(json.dumps(entries))
        monkeypatch.setattr(manager, "_current", manager.Manager(["dual_tag"]))
        more = {"in_json": str(meta), "train_data_dir": str(data), "skip_cache_check": True}
        args = flags(**more, train_batch_size=1, seed=5, **given)
        manager.current().hook.check_arguments(args=args)
        monkeypatch.setattr(manager, "_args", args)
        return LatentsDataset(None, None, None, False)

    return opens


def test_texts_have_the_tag_of_their_score_and_others_do_not_move(opened):
    scored = opened(**ALL_DRAWS, **SCORED)
    plain = opened(**ALL_DRAWS)
    pairs = [
        tuple(each.text_of(each.metadata[row], epoch) for each in (plain, scored))
        for row in range(12)
        for epoch in range(1, 30)
    ]
    marks = set()
    for row, (before, now) in zip((row for row in range(12) for _ in range(29)), pairs, strict=True):
        mark = "good" if row / 11 >= 0.5 else "bad"
        assert now.replace(f"{mark}, ", "", 1) == before
        marks.add((mark, mark in now))
    assert len(marks) == 4


def test_scores_are_part_of_what_the_data_are_where_they_are_read(opened):
    plain = opened().fingerprint
    first, again, other = (
        opened(scores, **SCORED).fingerprint for scores in (range(12), range(12), range(12, 0, -1))
    )
    assert first == again != other and {first.split()[0], other.split()[0]} == {plain}
    assert opened(range(12, 0, -1)).fingerprint == plain


def test_an_evaluation_asks_with_it_in_front_of_all_tags(opened):
    dataset = opened(**ALL_DRAWS, **SCORED)
    texts = texts_of(dataset.metadata[11], 0, undrawn(dataset.args))
    assert [texts[column] for column in COLUMNS] == ["A., good, tag11", "good, tag11", "A.", ""]


def test_an_index_of_before_is_refused_with_the_command(opened):
    opened()
    with pytest.raises(
        UserError, match="has no column of the field score; make it again: make index META="
    ) as caught:
        index_of_before(opened)
    assert "FIELDS=score" in str(caught.value) and "\n" not in str(caught.value)


def index_of_before(opened):
    """Open with the flag without a change of the metadata."""
    args = manager.args()
    for name, value in SCORED.items():
        setattr(args, name, value)
    LatentsDataset(None, None, None, False)
