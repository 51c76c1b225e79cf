"""What goes on from a run to others: its card, its files, and proof of what they are."""
