"""Shows runs: as a page, against each other, in a terminal, as a model card."""
