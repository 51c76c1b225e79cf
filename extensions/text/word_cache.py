"""Bounds the words that a tokenizer remembers.

transformers' CLIPTokenizer keeps the tokens of every word that it has met. Captions of 12.4 million images hold
millions of words (names, misspellings): in workers that live for 45 days, two encoders each, they come to
gigabytes. What is forgotten is computed anew, to the same tokens. A fast tokenizer keeps its words in Rust, bounded.
"""

WORDS = 50_000  # some 10 MB a tokenizer


class Words(dict):
    """{word: its tokens}, at most WORDS; when it is full it begins again."""

    def __setitem__(self, word, tokens):
        if len(self) >= WORDS:
            self.clear()
        super().__setitem__(word, tokens)


def bounded(tokenizer):
    """Return the tokenizer, its memory of words bounded where it has one in Python.

    To be called after `literal`: what it remembers then are words alone, no special tokens that it must not forget.
    """
    words = getattr(tokenizer, "cache", None)
    if type(words) is dict:
        tokenizer.cache = Words(words)
    return tokenizer
