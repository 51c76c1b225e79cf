"""What is cut and counted, by token_chunks' rule and by the trainer's own, and how it is told."""

import argparse

import pytest

from tests.helpers.token_chunks_cases import loaded, plugin


@pytest.fixture(scope="module")
def tokenizers(standins):
    return loaded(standins)


def test_a_limit_cuts_and_counts(tokenizers):
    made = plugin("--max_token_chunks=2")
    ids = made.tokenize(texts=["dog, " * 100, "cat"], tokenizers=tokenizers["sdxl"])
    assert ids[0].shape == (2, 2, 77)
    totals, histogram = made.counts.read()
    assert totals == {"texts": 2, "cut": 1, "tokens": 201, "lost": 50}
    assert histogram[:3] == [1, 1, 0]


@pytest.mark.parametrize(("length", "lost", "chunks"), [(None, 125, 1), (150, 50, 2), (225, 0, 3)])
def test_upstreams_own_cut_is_left_to_the_trainer_and_counted(length, lost, chunks, tokenizers):
    made = plugin("--token_chunks=upstream", max_token_length=length)
    texts = ["dog, " * 100, "cat", ""]
    assert made.tokenize(texts=texts, tokenizers=tokenizers["sdxl"]) is None
    nothing = dict(input_ids=[], tokenizers=[], text_encoders=[], projection=None, clip_skip=None)
    assert made.encode_tokens(**nothing) is None
    totals, histogram = made.counts.read()
    assert totals == {"texts": 3, "cut": int(lost > 0), "tokens": 201, "lost": lost}
    assert histogram[0] == 2 + (chunks == 1) and histogram[chunks - 1] >= 1 and sum(histogram) == 3


def test_the_report(tokenizers, capsys):
    made = plugin("--max_token_chunks=2")
    made.tokenize(texts=["dog, " * 100, "cat", "cat", "cat"], tokenizers=tokenizers["sdxl"])
    made.training_begins(run=argparse.Namespace(accelerator=argparse.Namespace(process_index=1, num_processes=4)))
    made.run_ended()
    assert capsys.readouterr().out.splitlines() == [
        "token_chunks: 4 texts read on process 1 of 4, 1 cut; 50 of 203 tokens lost (24.6%); chunks used:",
        "token_chunks:     1 chunk             3  75.0%  " + "#" * 40,
        "token_chunks:     2 chunks            1  25.0%  " + "#" * 13,
    ]


def test_no_report_where_no_text_was_read(capsys):
    plugin().run_ended()
    assert capsys.readouterr().out == ""
