"""What a run will cost: memory, hours, and what to change where it does not fit."""
