"""Digests of files in blocks are those of coreutils and of the libraries over the whole."""

import hashlib
import shutil
import subprocess

import pytest
import xxhash

from extensions.base import digests

BLOCK = 1000


@pytest.fixture(params=[0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 7])
def file(request, tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "BLOCK", BLOCK)
    path = tmp_path / "a file"
    path.write_bytes(bytes(number * number % 251 for number in range(request.param)))
    return path


@pytest.mark.parametrize("make", [hashlib.sha256, hashlib.md5, xxhash.xxh3_128])
def test_in_blocks_as_in_one_piece(file, make):
    expected = make(file.read_bytes()).hexdigest()
    assert digests.of_file(file, make()) == digests.of_file(str(file), make()) == expected


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="coreutils' sha256sum is not here")
def test_sha256_is_coreutils(file):
    said = subprocess.run(["sha256sum", str(file)], capture_output=True, text=True, check=True).stdout
    assert digests.of_file(file, hashlib.sha256()) == said.split()[0]
