"""Checks one image's cached latents, and says what is wrong where they cannot be used.

A sample that cannot be read is one of two things. *Corrupt*: its bytes are there and wrong (a file cut short, a
checksum, a bad sector, NaN, another size), which `--bad_sample=skip` may pass over. *Missing*: the file, the folder
or the disk is not there, or the process may not read it; that always stops, because a disk that is gone makes
every sample unreadable and none of them bad.
"""

import errno
from dataclasses import dataclass

import numpy as np

from extensions.base.errors import UserError

# Errors of the system about a file whose bytes may be good. (A bad sector is EIO; zipfile seeks to nonsense, EINVAL.)
NOT_THERE = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENAMETOOLONG,
    errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT,
}  # fmt: skip


class CorruptSample(UserError):
    """One sample's latents are there and wrong. The message names the file and the id."""


@dataclass(frozen=True)
class Latents:
    """latents: float32 (4, h/8, w/8), not scaled. original_size: (w, h). crop: (left, top), pixels."""

    latents: np.ndarray
    original_size: tuple[int, int]
    crop: tuple[int, int]
