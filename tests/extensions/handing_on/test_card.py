"""A model card, read back by huggingface_hub, a reader of Markdown and a reader of PNG."""

import re
from xml.etree import ElementTree

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from PIL import Image

from extensions.base.reporting import exit_code_of
from extensions.handing_on import card
from extensions.plan import recorded
from tests.helpers.run_folders import FLAGS, HOSTILE, folder_of, grid, lines

READER = MarkdownIt("commonmark").enable("table")
CAPTION = "a photograph of my own cat, id 4711"
LIKE_A_MODELS = {
    "v2": True, "v_parameterization": True, "zero_terminal_snr": True, "clip_skip": "2", "dual_tag": "concat",
    "dual_tag_order": "tags_first", "caption_separator": " | ", "train_text_encoder": True,
    "learning_rate_te": "2e-6", "token_chunks": "plain", "max_token_chunks": "3", "seed": "25022601",
    "min_snr_gamma": "5",
}  # fmt: skip


@pytest.fixture
def made(logs, tmp_path, capsys):
    """Make a card; its text, and what was said."""

    def make(run: str, *words: str) -> tuple[str, str]:
        out = tmp_path / "card"
        assert exit_code_of(card.main, [run, "--out", str(out), *words]) == 0
        return (out / "README.md").read_text(encoding="utf-8"), capsys.readouterr().err

    return make


def rows(text: str) -> dict[str, list[str]]:
    """{first cell: the others} of all tables, as a reader shows them."""
    page = READER.render(text.split("\n---\n", 1)[1])
    found = re.findall(r"<tr>\n(.*?)</tr>", page, re.S)
    cells = [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row, re.S)] for row in found]
    return {row[0]: row[1:] for row in cells if row}


def test_the_header_is_the_hubs_and_the_licence_is_asked_for(made):
    text, said = made("25022501")
    header = yaml.safe_load(text.split("---")[1])
    assert header == {
        "license": "other", "license_name": "to-be-filled-in", "pipeline_tag": "text-to-image",
        "tags": ["stable-diffusion-xl", "full-fine-tuning"],
    }  # fmt: skip
    assert ModelCard(text).data.to_dict() == header
    assert "Licence: to be filled in" in text and "the licence is missing" in said and "BASE_MODEL" in said


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("openrail++", {"license": "openrail++"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ('My "own": licence | `x`', {"license": "other", "license_name": 'My "own": licence | `x`'}),
    ],
)
def test_what_is_said_is_in_the_header(made, given, wanted):
    text, said = made("25022501", f"--licence={given}", "--base-model=owner/name")
    assert wanted.items() <= ModelCard(text).data.to_dict().items()
    assert ModelCard(text).data.base_model == "owner/name"
    assert not said and "to be filled in" not in text


def test_figures_are_the_records(made):
    found = rows(made("25022501")[0])
    assert found["optimizer steps"] == ["400"] and found["samples (images over all processes)"] == ["1,600"]
    assert "ab" * 32 in found["base model"][0] and "base.safetensors" in found["base model"][0]
    assert found["data set"] == [f"1,600 images, sha256 of its metadata {'cd' * 32}"]
    assert found["images/s, last launch's mean"] == ["1.3"] and found["hardware"] == ["RTX 3090"]
    assert found["torch"] == ["2.14.1"] and found["unet_percent"] == ["71"]
    # record: validation_line, of the first launch's step 0 and the last's 400
    first, last = (float(cell.split()[0]) for cell in found["held_out/x0"])
    assert first == pytest.approx(0.3005, abs=1e-4) and last == pytest.approx(0.2 + 0.1 * 0.13534 + 0.001, abs=1e-4)


def test_hours_are_those_of_all_launches(logs, made):
    for day, hours in (("01", 2), ("02", 3)):
        times = {"started": f"2026-03-{day}T10:00:00+00:00", "ended": f"2026-03-{day}T{10 + hours}:30:00+00:00"}
        folder_of(logs, "run 9", f"202603{day}T100000Z", lines(1, 3), **times)
    assert rows(made("run 9")[0])["hours"] == ["6.00"]


def test_lineage_goes_back_to_the_first(made):
    text, _ = made("run 3")
    table = text.split("## Where it comes from")[1].split("##")[0]
    assert re.findall(r"^\| ([\w ]+?) \| (?:base|\w+)", table, re.M) == [
        "run", "25022501", "25022601", "run 1", "run 2", "run 3",
    ]  # fmt: skip


def test_how_to_prompt_it_follows_from_the_flags(logs, made):
    plugins = {"extensions": "dual_tag,token_chunks"}
    folder_of(logs, "25022601", "20260501T100000Z", lines(1, 3), flags=FLAGS | LIKE_A_MODELS | plugins)
    log = "token_chunks: 40 texts read, 0 cut; …\ntoken_chunks:     1 chunk            30  75.0%  ####\n"
    log += "token_chunks:     2 chunks           10  25.0%  #\n"
    (logs / "25022601" / "20260501T100000Z" / "train.log").write_text(log)
    text, _ = made(str(logs / "25022601" / "20260501T100000Z"))
    found = rows(text)
    assert "zero terminal SNR" in found["The model predicts"][0]
    assert found["Text"] == ["tags with ' | ' between them, then ' | ', then a caption"]
    assert "75 tokens" in found["Length"][0] and "at most 3 chunks" in found["Length"][0]
    assert found["Clip skip"] == ["trained with 2"]
    assert found["Texts that it has learnt from"] == ["75.0% of 1 chunk, 25.0% of 2 chunks"]
    assert "stable-diffusion-2" in ModelCard(text).data.tags
    for said in ("min-SNR with gamma 5", "Of the U-Net's parameters 71% train, and the text encoders", "2e-06"):
        assert said in text


def test_pictures_are_there_and_on_paper(made, tmp_path):
    text, _ = made("25022501")
    names = re.findall(r"!\[[^\]]*\]\((\S+)\)", text)
    assert len([name for name in names if name.endswith(".svg")]) == 3
    for name in names:
        path = tmp_path / "card" / name
        if path.suffix == ".svg":
            ElementTree.parse(path)
            assert "svg{background:#fff}" in path.read_text() and "prefers-color-scheme" not in path.read_text()
        else:
            assert Image.open(path).size == (384, 128)
    files = {str(path.relative_to(tmp_path / "card")) for path in (tmp_path / "card").rglob("*") if path.is_file()}
    assert files == {*names, "README.md"}


def test_captions_stay_at_home_unless_asked_for(logs, made, tmp_path):
    folder = folder_of(logs, "secretive", "20260501T100000Z", lines(1, 3))
    grid(folder, 3, f"{CAPTION}\nSteps: 20")
    text, _ = made("secretive")
    assert CAPTION not in text and "Samples at optimizer step 3" in text
    assert CAPTION.encode() not in (tmp_path / "card/samples/step00000003.png").read_bytes()
    assert Image.open(tmp_path / "card/samples/step00000003.png").info.get("parameters") is None
    (tmp_path / "card").rename(tmp_path / "first")
    assert CAPTION in made("secretive", "--prompts=1")[0]


def test_neither_folders_nor_secrets_of_this_machine(logs, made):
    more = {
        "wandb_api_key": "c0ffee" * 6, "vae": "/home/jane doe/vae.safetensors", "in_json": "/home/jane/cats.json",
        "optimizer_args": ["weight_decay=0.1", "file='/home/jane/x.txt'"], "sample_prompts": "/home/jane/prompts.txt",
    }  # fmt: skip
    folder_of(logs, "private", "20260501T100000Z", lines(1, 3), flags=FLAGS | more)
    text, _ = made("private")
    for private in ("jane", "c0ffee", "cats.json", str(logs)):
        assert private not in text
    found = rows(text)
    assert found["vae"] == ["vae.safetensors"] and found["optimizer_args"] == ["weight_decay=0.1 file=x.txt'"]


def test_a_hostile_record_is_a_card_of_the_same_form(logs, made, tmp_path):
    name = next(path for path in logs.iterdir() if "script" in path.name)
    text, _ = made(str(name))
    page = READER.render(text.split("\n---\n", 1)[1])
    assert set(re.findall(r"<(\w+)", page)) <= {
        "h1", "h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "img", "code",
        "blockquote",
    }  # fmt: skip
    assert "onerror" not in re.sub(r"&lt;.*?&gt;", "", page)
    assert rows(text)["comment"] == [
        HOSTILE.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b").replace("&", "&amp;").replace("<", "&lt;")
        .replace(">", "&gt;").replace('"', "&quot;")
    ]  # fmt: skip


def test_a_run_of_the_logbook_that_is_not_recorded_here(made):
    text, _ = made("25030301")
    found = rows(text)
    assert "is not recorded here" in text and "3890 steps in 19.36 h" in text
    assert found["base model"] == ["255b"] and found["seed"] == ["25030301"]
    assert found["hours"] == [f"{recorded.read().logs['25030301'][0].hours:.2f}"]
    assert found["data set"] == ["6,224 images, the logbook's 6k set"]


def test_a_segment_has_its_whole_chain(made):
    table = made("25031401")[0].split("## Where it comes from")[1].split("##")[0]
    assert re.findall(r"^\| (\d+) \| \S+ \| ([\d,]+) \| ([\d,]+)", table, re.M) == [
        ("25030802", "0", "10,000"), ("25031101", "10,000", "40,000"), ("25031401", "40,000", "50,000"),
    ]  # fmt: skip


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_what_is_there_stays(logs, tmp_path, capsys, there):
    out = tmp_path / "there"
    {"folder": out.mkdir, "file": out.touch, "link": lambda: out.symlink_to(tmp_path / "nowhere")}[there]()
    before = sorted(tmp_path.rglob("*"))
    assert exit_code_of(card.main, ["25022501", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: OUT=") and said.count("\n") == 1 and "is there already" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_the_default_folder_is_the_runs_own(logs, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(card, "OUT", tmp_path / "cards")
    assert exit_code_of(card.main, ["25022501"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'cards' / 'run-25022501' / 'README.md'}\n"
    assert exit_code_of(card.main, ["25022501"]) == 2
