"""A folder of pages: escaped, with a strict policy, in no folder that holds something else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.report import pages
from extensions.report.pages import Cell, Site, page_of
from tests.helpers.run_folders import HOSTILE


def index(site: Site, text: str) -> str:
    known = dict(
        notes=[text], columns=["run"], rows=[[Cell(text, text, text)], [text]], charts=[], nodes=[], graph_width=0
    )
    return site.write("index.html", "index", text, **known).read_text(encoding="utf-8")


@given(st.one_of(st.just(HOSTILE), st.text(min_size=1)))
def test_no_text_becomes_a_tag(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "site"
    page = index(Site(folder), text)
    own = index(Site(folder), "x")
    assert re.findall(r"<[a-z]+", page) == re.findall(r"<[a-z]+", own)
    assert page.isprintable() or {c for c in page if not c.isprintable()} == {"\n"}


def test_the_policy_lets_in_what_is_ours_alone(tmp_path):
    page = index(Site(tmp_path / "site"), "x")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert "default-src &#39;none&#39;" in policy and "unsafe" not in policy and "http" not in policy
    assert page.count("<script>") == page.count("<style>") == 1 and "style=" not in page and "onclick" not in page


def test_a_folder_with_other_files_is_refused_and_stays(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="holds other files"):
        Site(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(UserError, match="cannot be written"):
        Site(tmp_path / "mine.txt")
    Site(Site(tmp_path / "site").folder)


@given(st.lists(st.text(st.characters(exclude_categories=()), min_size=1, max_size=300), min_size=1, max_size=3))
def test_names_of_pages_are_names_of_files(names):
    name = page_of("run", *names)
    assert re.fullmatch(r"run-[A-Za-z0-9._-]+\.html", name) and len(name) < 200


def test_names_that_differ_have_pages_that_differ():
    assert len({page_of("run", name) for name in ("a b", "a_b", "a/b", "a b ", "x" * 90, "x" * 91)}) == 6
    assert page_of("run", "25022601") == "run-25022601.html"


def test_charts_that_no_page_shows_go(tmp_path):
    site = Site(tmp_path / "site")
    (site.folder / pages.CHARTS / f"{'0' * 24}.svg").touch()
    site.tidy()
    assert not list((site.folder / pages.CHARTS).iterdir())
