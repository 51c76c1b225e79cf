"""`make upload`: nothing leaves this machine without REALLY=1, and what would is listed whole."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.base.reporting import exit_code_of
from extensions.handing_on import __main__ as verbs
from extensions.handing_on import hub, upload

TOKEN = "hf_" + "q" * 34
HEADER = "license: openrail++\nbase_model: a/b\npipeline_tag: text-to-image\nlibrary_name: diffusers\n"
CARD = f"---\n{HEADER}---\n# A model\n"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "export" / "run"
    (made / "unet").mkdir(parents=True)
    (made / "model_index.json").write_text("{}")
    (made / "unet" / "weights.safetensors").write_bytes(b"w" * 2000)
    (made / ".cache").mkdir()
    (made / ".cache" / "left").write_text("x")
    return made


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """What reaches the hub; and no token of the caller's."""
    calls = []
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(hub, "upload", lambda *words: calls.append(words) or "https://hub/commit/1")
    return calls


def code(*words) -> int:
    return exit_code_of(verbs.main, ["upload", *map(str, words)])


def test_a_dry_run_says_all_and_asks_nobody(folder, asked, capsys):
    assert code("--repo=user/name", f"--folder={folder}", "--private=1") == 0
    said = capsys.readouterr().out
    assert "would upload to user/name (private):" in said and "nothing has left this machine" in said
    assert "2,000  unet/weights.safetensors" in said and "model_index.json" in said and ".cache" not in said
    assert "there is no model card (README.md), and so no licence" in said
    assert asked == []


def test_really(folder, asked, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    (folder / "README.md").write_text(CARD)
    assert code("--repo=user/name", f"--folder={folder}", "--really=1") == 0
    said = capsys.readouterr()
    assert "uploads to user/name (public):" in said.out and "uploaded: https://hub/commit/1" in said.out
    assert "note: " not in said.out and TOKEN not in said.out + said.err
    ((repo, files, private, token),) = asked
    assert (repo, private, token) == ("user/name", False, TOKEN)
    assert list(files) == ["README.md", "model_index.json", "unet/weights.safetensors"]


def test_a_file_goes_with_the_card_beside_it(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"x")
    (tmp_path / "other.safetensors").write_bytes(b"x")
    assert list(upload.files_of(tmp_path / "x.safetensors")) == ["x.safetensors"]
    (tmp_path / "README.md").write_text(CARD)
    assert list(upload.files_of(tmp_path / "x.safetensors")) == ["x.safetensors", "README.md"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--repo="], "REPO= is no name of a repository; give REPO=<user>/<name>"),
        (["--repo=name"], "REPO=name is no name"),
        (["--repo=../name"], "is no name"),
        (["--repo=a/b/c"], "is no name"),
        (["--repo=https://huggingface.co/a/b"], "is no name"),
        (["--repo=a/b.git"], "is no name"),
        (["--repo=a/b", "--file=x", "--folder=y"], "FILE= and FOLDER= are both given"),
        (["--repo=a/b", "--file=/nowhere"], "FILE=/nowhere is no file"),
        (["--repo=a/b", "--folder=/nowhere"], "FOLDER=/nowhere is no folder"),
        (["--repo=a/b"], "give RUN=<run>, FILE=<exported file> or FOLDER=<exported folder>"),
        (["--repo=a/b", "--really=perhaps"], "REALLY=perhaps is neither yes nor no"),
        (["--repo=a/b", "--private=perhaps"], "PRIVATE=perhaps is neither yes nor no"),
        (["--repo=a/b", "1234"], "there is no run 1234"),
    ],
)
def test_refused_in_one_line(asked, capsys, words, line):
    assert code(*words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and line in said.err and asked == []


def test_without_a_token(folder, asked, capsys):
    assert code("--repo=a/b", f"--folder={folder}", "--really=1") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: there is no HF_TOKEN in the environment") and said.count("\n") == 1 and asked == []


@pytest.mark.parametrize("token", [f"{TOKEN}\nx: y", f"{TOKEN} x", "☃ " + TOKEN, "\x1b[31m"])
def test_a_token_that_is_none(folder, asked, capsys, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    assert code("--repo=a/b", f"--folder={folder}", "--really=1") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: HF_TOKEN holds what no token can") and TOKEN not in said and asked == []


def test_the_one_export_of_a_run_is_found(folder, tmp_path, capsys, monkeypatch):
    from extensions.handing_on import found as finding

    class Found:
        path = tmp_path / "last.safetensors"

    monkeypatch.setattr(finding, "find", lambda run, checkpoint: Found)
    (folder.parent / ".x.part").mkdir()
    assert upload.exported("25022601") == folder
    (folder.parent / "x.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="holds run, x.safetensors; give FILE= or FOLDER="):
        upload.exported("25022601")
    for path in (folder / "model_index.json", folder.parent / "x.safetensors"):
        path.unlink()
    with pytest.raises(UserError, match="holds no export; make export RUN=25022601 first"):
        upload.exported("25022601")


def test_links_out_of_the_folder(folder, tmp_path):
    (tmp_path / "private").write_text("mine")
    (folder / "inside").symlink_to(folder / "model_index.json")
    assert "inside" in upload.files_of(folder)
    for target in (tmp_path / "private", tmp_path, tmp_path / "nowhere"):
        (folder / "out").symlink_to(target)
        with pytest.raises(UserError, match="is a link out of"):
            upload.files_of(folder)
        (folder / "out").unlink()


@pytest.mark.parametrize("text", [f"token: {TOKEN}", "https://me:secret@host/x", "my own words"])
def test_secrets_stay_here(folder, monkeypatch, text):
    monkeypatch.setenv("HF_TOKEN", "my own words")
    (folder / "notes.txt").write_text(text)
    with pytest.raises(UserError, match="holds what looks like a key or a password") as error:
        upload.files_of(folder)
    assert TOKEN not in str(error.value)


def test_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match="holds no files"):
        upload.files_of(tmp_path)


@pytest.mark.parametrize(
    ("card", "lacks"),
    [
        (CARD, []),
        (CARD.replace("openrail++", "unknown"), ["README.md says no license: nobody may use the model"]),
        (CARD.replace("openrail++", "'<to be filled in>'"), ["README.md says no license: nobody may use the model"]),
        (CARD.replace("base_model: a/b\n", ""), ["README.md says no base_model"]),
        ("# A model\n", [f"README.md says no {name}" for name in ("license: nobody may use the model", "base_model",
                                                                  "pipeline_tag", "library_name")]),
        ("---\nlicense: [\n---\n", ["the header of README.md cannot be read"]),
        ("---\n- a\n---\n", ["the header of README.md cannot be read"]),
    ],
)  # fmt: skip
def test_what_a_card_lacks(tmp_path, card, lacks):
    path = tmp_path / "README.md"
    path.write_text(card)
    found = upload.lacking(path)
    assert len(found) == len(lacks) and all(one.startswith(other) for one, other in zip(found, lacks, strict=True))


@given(text=st.text(max_size=40))
def test_any_header_is_read_or_told(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / f"card {os.getpid()}.md"
    path.write_text(f"---\n{text}\n---\nwords\n", encoding="utf-8")
    assert all("\n" not in line for line in upload.lacking(path))


@given(st.text(min_size=1, max_size=30))
def test_any_name_is_taken_or_refused(text):
    from huggingface_hub.utils import validate_repo_id

    given = verbs.argparse.Namespace(repo=text, file="", folder="/", private="", really="", run="")
    try:
        upload.wish(given)
    except UserError:
        return
    validate_repo_id(text)  # raises for what the hub would not take
