"""Trains as sd-scripts' two full fine-tuning scripts do, small, on public libraries: the reference trainer.

Same flags, same hooks, same random draws, same checkpoints; `train.py` is the loop on one page. It is the
check of the patched sd-scripts (`make parity`) and its stand-in where that cannot be had.
"""
