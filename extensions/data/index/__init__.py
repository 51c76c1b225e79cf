"""The metadata index: what a training run knows of its images, built once and mapped by every process.

`make index` or the first start reads the metadata (`entries.py`, `parts.py`), decides what stays (`policies.py`,
`verdict.py`), writes one Arrow file (`assemble.py`, `layout.py`) and reports. Trainers call `open_for`.
"""

from extensions.data.index.opening import ensure, open_for
from extensions.data.index.reader import Index

__all__ = ["Index", "ensure", "open_for"]
