"""What others have put where RAMDISK=1 writes: no link is followed, nothing else is removed or written."""

import os

import pytest

from extensions.base.errors import UserError
from extensions.launch import ramdisk
from tests.helpers.ramdisk_cases import contents, stage


@pytest.fixture
def victim(tmp_path):
    """A folder of someone's own files."""
    folder = tmp_path / "thesis"
    folder.mkdir()
    for name in ("1.npz", "chapter.txt"):
        (folder / name).write_text("kept")
    return folder


def kept(victim) -> bool:
    return contents(victim) == {"1.npz": b"kept", "chapter.txt": b"kept"}


def refused(inputs) -> str:
    with pytest.raises(UserError) as caught:
        stage(inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_mount_is_a_link(inputs, root, victim):
    root.parent.symlink_to(victim)
    assert "is a symbolic link to" in refused(inputs) and kept(victim)
    with pytest.raises(UserError, match="is a symbolic link"):
        ramdisk.clean()
    root.parent.unlink()


def test_the_folder_below_it_is_a_link(inputs, root, victim):
    root.parent.mkdir()
    root.symlink_to(victim)
    assert str(root) in refused(inputs) and kept(victim)
    with pytest.raises(UserError, match="is a symbolic link"):
        ramdisk.clean()
    root.unlink()
    root.parent.rmdir()


@pytest.mark.parametrize("which", ["partial", "place", "latents"])
def test_a_folder_in_it_is_a_link(inputs, root, victim, which):
    made = stage(inputs)
    latents = made.path("train_data_dir")
    path = {"partial": root / ramdisk.PARTIAL, "place": latents.parent, "latents": latents}[which]
    path.rename(root.parent / "away")
    path.symlink_to(victim)
    assert str(path) in refused(inputs) and kept(victim)
    path.unlink()
    (root.parent / "away").rename(path)


def test_a_copy_is_a_link_to_something_that_looks_like_it(inputs, root, tmp_path):
    made = stage(inputs)
    copy = made.path("train_data_dir") / "1.npz"
    facts, other = copy.stat(), tmp_path / "other.npz"
    other.write_bytes(b"x" * facts.st_size)
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    copy.unlink()
    copy.symlink_to(other)
    stage(inputs)
    assert not copy.is_symlink() and copy.read_bytes() == (inputs / "latents" / "1.npz").read_bytes()
    assert other.read_bytes() == b"x" * facts.st_size


@pytest.mark.parametrize("lock", [ramdisk.MARKER, ramdisk.IN_USE])
def test_a_lock_is_a_link(inputs, root, victim, lock):
    stage(inputs)
    (root / lock).unlink()
    (root / lock).symlink_to(victim / "new.txt")
    made = stage(inputs)
    assert made.sources == () and "reading from disk" in made.notes[0] and kept(victim)
    (root / lock).unlink()
    (root / lock).touch()


def test_the_folder_is_the_users_alone(inputs, root):
    root.mkdir(parents=True)
    root.chmod(0o777)
    root.parent.chmod(0o777)
    stage(inputs)
    assert root.stat().st_mode & 0o777 == 0o700 and root.parent.stat().st_mode & 0o022 == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("which", ["mount", "staged"])
def test_another_users_folder_is_not_written_to(inputs, root, which):
    root.mkdir(parents=True)
    path = root.parent if which == "mount" else root
    os.chown(path, 65534, 65534)
    made = stage(inputs)
    assert made.sources == () and "user" in made.notes[0] and list(root.iterdir()) == []
    root.rmdir()
    root.parent.rmdir()
