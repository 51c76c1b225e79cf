"""The claim of --batch_texts=like: most of what padding costs at four images a batch is saved."""

from benchmarks import like_texts


def test_like_texts_save_most_of_the_padding():
    for least, drawn, like, _ in like_texts.measured(2400, 4).values():
        assert like < 0.88 * drawn
        assert drawn - like > 0.75 * (drawn - least)
