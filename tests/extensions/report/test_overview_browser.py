"""The pages in a real browser, from the disk: silent, for everybody, sorted by keyboard, hostile texts inert."""

import pytest

from extensions.base import paths
from extensions.report import __main__ as report
from tests.helpers import browser
from tests.helpers.launching import launch

pytestmark = pytest.mark.usefixtures("needs_browser")
# (width, dark): every day a wide page by day and a phone by night.
LOOKS = [
    (1280, False),
    (360, True),
    pytest.param((1280, True), marks=pytest.mark.slow),
    pytest.param((360, False), marks=pytest.mark.slow),
]
PAGES = (
    "index.html",
    "run-25022501.html",
    "run-25022601.html",
    "compare-25022501-25022601.html",
    "run-_script*.html",
)


@pytest.fixture(scope="module", params=LOOKS, ids=lambda look: f"{look[0]}-{'dark' if look[1] else 'light'}")
def driver(request):
    with browser.browser(*(request.param[0], 900, request.param[1])) as made:
        made.dark, made.width = request.param[1], request.param[0]
        yield made


def opened(driver, site, name: str):
    (path,) = site.glob(name)
    driver.get(path.as_uri())
    return driver


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_silent_whole_and_for_everybody(driver, site, name):
    opened(driver, site, name)
    loaded = "Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode(); })).then(() => "
    shown = driver.execute_async_script(
        loaded + "arguments[0](document.images.length), e => arguments[0](String(e)))"
    )
    assert shown and isinstance(shown, int), shown
    assert browser.complaints(driver) == []
    assert browser.violations(driver) == []
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    for details in driver.find_elements("css selector", "details"):
        driver.execute_script("arguments[0].open = true", details)
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.violations(driver) == []


def test_the_theme_is_the_readers(driver, site):
    opened(driver, site, "index.html")
    paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 25, 28)" if driver.dark else "rgb(255, 255, 255)")


def test_a_telephone_gets_small_charts(driver, site):
    opened(driver, site, "run-25022501.html")
    width = driver.execute_script(
        "const i = document.querySelector('.wide img'); return i.decode().then(() => i.naturalWidth)"
    )
    assert (width < 500) == (driver.width < 600)


def test_the_table_is_sorted_by_keyboard(driver, site):
    from selenium.webdriver.common.keys import Keys

    opened(driver, site, "index.html")
    focus = driver.switch_to
    for _ in range(40):
        focus.active_element.send_keys(Keys.TAB)
        if focus.active_element.text.startswith("optimizer steps"):
            break
    assert focus.active_element.tag_name == "button"

    def column():
        return driver.execute_script(
            "return [...document.querySelectorAll('#runs tbody tr')].map(r => r.cells[2].innerText)"
        )

    def order():
        return driver.execute_script("return document.activeElement.closest('th').getAttribute('aria-sort')")

    before = column()
    found = {}
    for key, way in ((Keys.ENTER, "ascending"), (Keys.SPACE, "descending")):
        focus.active_element.send_keys(key)
        assert order() == way
        found[way] = [int(text) for text in column() if text != "-"]
        assert column()[len(found[way]) :] == ["-"] * (len(before) - len(found[way])), "what is empty is last"
    assert found["ascending"] == sorted(found["ascending"]) == found["descending"][::-1] and 400 in found["ascending"]
    assert sorted(column()) == sorted(before)
    assert (
        driver.execute_script("return document.querySelectorAll('th[aria-sort]:not([aria-sort=none])').length") == 1
    )


def test_axe_finds_what_is_wrong(driver, site):
    """The check itself can fail."""
    opened(driver, site, "index.html")
    driver.execute_script("document.querySelector('a').replaceChildren(); document.documentElement.lang = ''")
    assert any("html-has-lang" in each for each in browser.violations(driver))


def test_a_script_in_a_page_would_not_run(driver, site):
    opened(driver, site, "index.html")
    driver.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    )
    assert driver.execute_script("return window.ran") is None
    assert any("Content Security Policy" in each for each in browser.complaints(driver))


@pytest.mark.slow
def test_a_run_of_the_reference_trainer(tmp_path, standins, monkeypatch):
    """Not made by a helper: metrics, manifest and log as a launch leaves them."""
    run = launch("25022601", tmp_path, PROFILE="tiny", TRAINER="reference")
    assert run.code == 0, run.said
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    report.main(["report", "25022601", "--out", str(tmp_path / "out")])
    with browser.browser() as driver:
        opened(driver, tmp_path / "out", "run-25022601_tiny*.html")
        assert driver.execute_script("return [...document.querySelectorAll('dd')].map(d => d.innerText)")[:3] == [
            "done",
            "8",
            "8",
        ]
        assert browser.complaints(driver) == [] == browser.violations(driver)
