"""The patch files alone (no upstream needed), and their round trip through upstream."""

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import PATCHES
from extensions.upstream import git, patches, submodule, tree

FILES = sorted(PATCHES.glob("*.patch"))
GOOD = FILES[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("patch", FILES, ids=lambda path: path.stem[:40])
def test_each_patch_has_a_reason_and_no_logic(patch):
    assert patches.problems_of(patch.read_text(encoding="utf-8")) == []


def test_series_lists_each_once_within_the_budget():
    assert patches.problems() == []
    assert sum(patches.changed_lines(path.read_text(encoding="utf-8")) for path in FILES) <= patches.BUDGET


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Why:", "Because:", "Why:"),
        ("Kind: hook", "Kind: whim", "whim"),
        ("Subject: sdxl_train.py:", "Subject: loop:", "subject"),
        ("+    global_step = loop", "+    if True: global_step = loop", "logic"),
    ],
)
def test_a_bad_patch_is_told(old, new, says):
    assert any(says in problem for problem in patches.problems_of(GOOD.replace(old, new, 1)))


def test_changed_lines_are_counted_as_git_does(tmp_path):
    path = tmp_path / "p.patch"
    for file in FILES:
        path.write_bytes(file.read_bytes())
        added, removed = git.output(tmp_path, "apply", "--numstat", str(path)).split()[:2]
        assert patches.changed_lines(file.read_text(encoding="utf-8")) == int(added) + int(removed)


def test_unlisted_doubled_and_missing_files(tmp_path):
    (tmp_path / "a.patch").write_text(GOOD)
    (tmp_path / "b.patch").write_text(GOOD)
    (tmp_path / "series").write_text("# order\na.patch\na.patch\n")
    found = patches.problems(tmp_path)
    assert any("b.patch is not listed" in line for line in found)
    assert any("a.patch is listed more than once" in line for line in found)
    (tmp_path / "series").write_text("c.patch\n")
    with pytest.raises(UserError, match=r"c\.patch"):
        tree.series(tmp_path)


@pytest.mark.upstream
def test_series_applies_and_exports_unchanged(patched):
    assert patches.round_trip() == []


@pytest.mark.upstream
def test_tree_is_built_once_and_heals(patched):
    head = git.output(patched, "rev-parse", "HEAD")
    before = (patched / "sdxl_train.py").stat().st_mtime_ns
    tree.ensure()
    assert (patched / "sdxl_train.py").stat().st_mtime_ns == before
    tree.mark_current()
    (patched.with_suffix(".stamp")).write_text("interrupted")
    tree.ensure()
    assert git.output(patched, "log", "-1", "--format=%s") == git.output(patched, "log", "-1", "--format=%s", head)
    assert git.output(submodule.SUBMODULE, "status", "--porcelain") == ""


@pytest.mark.upstream
def test_a_patch_that_no_longer_applies_is_one_line(patched, tmp_path):
    stale = tmp_path / "0001-stale.patch"
    stale.write_text(GOOD.replace("     global_step = 0", "     global_step = 1"))
    scratch = patched.with_name("check-patches")
    try:
        tree.fresh_worktree(submodule.SUBMODULE, scratch, submodule.pin())
        with pytest.raises(UserError, match=r"0001-stale\.patch does not apply") as error:
            tree.apply(scratch, stale, submodule.pin())
        assert "\n" not in str(error.value)
        assert git.output(scratch, "status", "--porcelain") == ""
    finally:
        tree.remove_worktree(submodule.SUBMODULE, scratch)


@pytest.mark.upstream
def test_unknown_reference(patched):
    with pytest.raises(UserError, match="no commit 'no-such-tag'"):
        tree.ensure("no-such-tag")


def test_export_of_the_series_has_one_context_line():
    for path in FILES:
        body = path.read_text(encoding="utf-8").split("\n@@")[1:]
        for hunk in body:
            context = [line for line in hunk.splitlines()[1:] if line.startswith(" ")]
            assert len(context) <= 4  # one above and below; two changes may share a hunk
