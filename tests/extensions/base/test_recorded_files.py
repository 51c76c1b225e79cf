"""Digests of checkpoints in the manifest: coreutils' or hashlib's of the same bytes, whatever happens to the name."""

import hashlib
import os

import pytest

from extensions.base import manifest, recorded_files
from extensions.base.recorded_files import RecordedFiles


@pytest.fixture
def folders(tmp_path):
    record, output = tmp_path / "record", tmp_path / "output"
    record.mkdir()
    output.mkdir()
    manifest.update(record, run="1")
    return record, output


def save(folder, name: str, content: bytes) -> str:
    """As a trainer does: whole under its name at once. Its digest."""
    temporary = folder / ".part"
    temporary.write_bytes(content)
    os.replace(temporary, folder / name)
    return hashlib.sha256(content).hexdigest()


def recorded(record) -> dict[str, str]:
    found = manifest.read(record)
    assert found.run == "1"
    return {name: facts["sha256"] for name, facts in found.checkpoints.items()}


def test_what_is_saved_and_what_is_saved_beside_it(folders):
    record, output = folders
    save(output, "earlier.safetensors", b"of another launch")
    files = RecordedFiles(record, output)
    wanted = {"a.safetensors": save(output, "a.safetensors", b"a" * 70_000)}
    files.look()
    wanted["a.ema-0.05.safetensors"] = save(output, "a.ema-0.05.safetensors", b"averaged")
    save(output, "notes.txt", b"no checkpoint")
    save(output, ".hidden.safetensors", b"on its way")
    files.finish()
    assert recorded(record) == wanted
    assert manifest.read(record).checkpoints["a.safetensors"]["bytes"] == 70_000


def test_the_last_of_a_name_is_recorded(folders):
    record, output = folders
    files = RecordedFiles(record, output)
    save(output, "last.safetensors", b"first")
    files.look()
    wanted = save(output, "last.safetensors", b"again")
    files.finish()
    assert recorded(record) == {"last.safetensors": wanted}


def test_a_digest_is_of_what_was_saved_though_another_takes_its_name(folders, monkeypatch):
    """The thread comes to it late, as behind a queue of 7 GB each."""
    record, output = folders
    files = RecordedFiles(record, output)
    waiting = []
    monkeypatch.setattr(files.thread, "submit", lambda *work: waiting.append(work))
    wanted = save(output, "a.safetensors", b"saved")
    files.look()
    save(output, "a.safetensors", b"another")
    for function, *words in waiting:
        function(*words)
    assert recorded(record) == {"a.safetensors": wanted}


def test_a_record_that_cannot_be_written_is_told_and_no_more(folders, monkeypatch, capsys):
    record, output = folders
    files = RecordedFiles(record, output)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorded_files.manifest, "update", full)
    save(output, "a.safetensors", b"a")
    files.finish()
    assert "the record has no digest of a.safetensors" in capsys.readouterr().out
    assert manifest.read(record).checkpoints == {}


def test_a_folder_that_is_not_there_yet_holds_nothing(tmp_path):
    files = RecordedFiles(tmp_path, tmp_path / "not yet")
    files.finish()
    assert not (tmp_path / "manifest.json").exists()
