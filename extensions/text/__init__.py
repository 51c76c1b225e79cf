"""What a text becomes: tokenizers, encoding, the words that a tokenizer remembers."""
