"""Makes tokenizers read what looks like a special token in a text, `<|endoftext|>`, as the letters that it is.

Captioners leave such marks behind. Read as the real EOS, one turns all that follows it in its chunk into padding. A
tokenizer looks for them in three places: it cuts them out of a text first, its pattern of words has them, and so does
its memory of words. All three lose them here; texts are framed by their ids as before, from the vocabulary.

One stays: SD2's "!", padding and an ordinary sign at once. sd-scripts' own cut takes it for padding, so did the
recorded runs, and `--token_chunks=upstream` repeats them. `chunks.ids_of` reads it as the sign.
"""

import re

SIGN = "!"
# Of CLIP's pattern: the alternatives that are marks, each with the bar after it.
IN_PATTERN = re.compile(r"<\\\|\w+\\\|>\|")


def literal(tokenizer):
    """Return the tokenizer, which from now on finds no mark in a text; once is enough, twice does no harm."""
    if tokenizer.is_fast:
        tokenizer.split_special_tokens = True
        return tokenizer
    added = tokenizer._added_tokens_decoder
    marks = {number: str(token) for number, token in added.items() if token.special and str(token) != SIGN}
    if not marks:
        return tokenizer
    for number, mark in marks.items():
        del added[number], tokenizer._added_tokens_encoder[mark]
        tokenizer.encoder.setdefault(mark, number)
        tokenizer.cache.pop(mark, None)
    from transformers.tokenization_utils import Trie  # and with it torch, which a launcher must not hold

    tokenizer.tokens_trie = Trie()
    tokenizer._update_trie()
    import regex  # the pattern's: re knows no \p{L}

    tokenizer.pat = regex.compile(IN_PATTERN.sub("", tokenizer.pat.pattern), tokenizer.pat.flags)
    return tokenizer
