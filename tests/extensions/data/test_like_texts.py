"""--batch_texts=like: every image once, like texts together, the same from any step and for any processes."""

import numpy as np
import pytest
import toml
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data.dealing import AS_DRAWN, DEALT
from extensions.data.hashing import hashed
from extensions.data.like_texts import LIKE, WINDOW, length_of
from extensions.data.loader import Places
from extensions.data.order import EpochOrder
from extensions.launch import tiny
from extensions.plugins import resume_at_step
from extensions.reference.text import Text
from extensions.standins.photos import CAPTIONS
from extensions.text.chunks import ids_of
from tests.extensions.data.test_loader import seen
from tests.extensions.data.test_loader_dealt import Sized
from tests.helpers.small_trainer import flags


class Texts(Sized):
    """The same with lengths of texts, others in each epoch."""

    def length_of_text(self, row, epoch):
        return int(hashed(row, epoch)) % 50


def places_of(buckets, batch_size, processes=1, accumulation=1, skipped=None, process=0, data_order=AS_DRAWN):
    return Places(Texts(buckets, batch_size), process, processes, accumulation, skipped or {}, 0, data_order, LIKE)


CASES = dict(
    buckets=st.lists(st.integers(0, 3), min_size=1, max_size=200),
    batch_size=st.integers(2, 4),
    processes=st.integers(1, 4),
    accumulation=st.integers(1, 3),
)


@given(**CASES)
@settings(max_examples=60)
def test_an_epoch_has_every_row_once_in_batches_of_one_bucket(buckets, batch_size, processes, accumulation):
    places = places_of(buckets, batch_size)
    found = [place.rows for place in seen(places, 1)]
    assert sorted(row for rows in found for row in rows) == list(range(len(buckets)))
    assert all(len({buckets[row] for row in rows}) == 1 for rows in found)
    drawn = EpochOrder(np.array(buckets), batch_size, 1, 0)
    assert [len(rows) for rows in found] == [len(drawn.batch(place)) for place in range(len(drawn))]


@given(**CASES, data_order=st.sampled_from([AS_DRAWN, DEALT]), data=st.data())
@settings(max_examples=60)
def test_from_any_step_on_it_is_the_same(buckets, batch_size, processes, accumulation, data_order, data):
    """Whichever windows were looked at before, and by whichever process."""
    process = data.draw(st.integers(0, processes - 1))
    shape = buckets, batch_size, processes, accumulation, None, process, data_order
    whole = seen(places_of(*shape), 2)
    later = places_of(*shape)
    stop = data.draw(st.integers(0, later.steps * 2 - 1))
    assert seen(later, 2, stop) == whole[stop * accumulation :]


@given(**CASES)
@settings(max_examples=60)
def test_other_numbers_of_processes_see_the_same_updates(buckets, batch_size, processes, accumulation):
    several = places_of(buckets, batch_size, processes, accumulation)
    alone = places_of(buckets, batch_size, 1, processes * accumulation)
    for places in (several, alone):
        places.begin(1, 0)
    for step in range(alone.steps):
        here, there = ([place.rows for _, _, place in places.global_batch(step)] for places in (several, alone))
        assert here == there


@given(**CASES, lost=st.sets(st.integers(0, 199), max_size=20))
@settings(max_examples=60)
def test_what_a_roll_back_leaves_out_moves_nothing_else(buckets, batch_size, processes, accumulation, lost):
    lost = {row for row in lost if row < len(buckets)}
    if len(lost) == len(buckets):
        return
    plain = places_of(buckets, batch_size, processes, accumulation)
    cut = places_of(buckets, batch_size, processes, accumulation, dict.fromkeys(lost, 0))
    for before, after in zip(seen(plain, 1), seen(cut, 1), strict=True):
        assert not lost & set(after.rows)
        if not lost & set(before.rows):
            assert before == after


def test_within_a_window_each_batch_is_longer_than_the_one_before():
    batch_size, windows = 4, 5
    count = batch_size * WINDOW * windows
    places = places_of([0] * count, batch_size)
    places.begin(0, 0)
    lengths = np.array([places.dataset.length_of_text(row, 1) for row in range(count)])
    order = places.order
    found = [lengths[order.like.between(start, start + batch_size)] for start in range(0, count, batch_size)]
    for first in range(0, len(found), WINDOW):
        window = np.concatenate(found[first : first + WINDOW])
        assert (np.diff(window) >= 0).all()
        # The window's images are those that were drawn into it.
        assert sorted(lengths[order.rows[first * batch_size : (first + WINDOW) * batch_size]]) == window.tolist()


def test_the_length_is_nearly_the_number_of_tokens():
    """The stand-ins' captions and tags, by CLIP's own tokenizer: the same order, to a few tokens."""
    tokenizer = Text("sdxl", str(tiny.standins()["tokenizers"]), None).tokenizers[0]
    entries = toml.loads(CAPTIONS.read_text(encoding="utf-8")).values()
    texts = [", ".join(filter(None, (entry.get("caption"), entry.get("tags")))) for entry in entries]
    counted, exact = (
        [count(text) for text in texts] for count in (length_of, lambda text: len(ids_of(text, tokenizer)))
    )
    assert np.corrcoef(counted, exact)[0, 1] > 0.97
    assert all(0.75 * tokens <= pieces <= tokens for pieces, tokens in zip(counted, exact, strict=True))


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (dict(train_batch_size=1, token_chunks="a1111"), "nothing to choose at --train_batch_size=1; drop it"),
        (
            dict(train_batch_size=4),
            "saves nothing where every text has --max_token_length.*let token_chunks cut texts",
        ),
        (dict(train_batch_size=4, token_chunks="upstream"), "saves nothing"),
        (dict(train_batch_size=4, token_chunks="a1111", in_json="both.toml"), "orders one set, not a mixture"),
    ],
)
def test_where_it_would_do_nothing_it_is_refused(tmp_path, changed, line):
    extensions = "resume_at_step,token_chunks" if "token_chunks" in changed else "resume_at_step"
    with pytest.raises(UserError, match=line):
        resume_at_step.Plugin().check_arguments(
            flags(tmp_path, extensions=extensions, batch_texts=LIKE, max_token_length=225, **changed)
        )
