"""A headless Chromium for pages on this disk, as Debian has it; None where there is none."""

import shutil
import tempfile
from contextlib import contextmanager
from functools import cache
from importlib import import_module, resources
from importlib.util import find_spec
from pathlib import Path

# No sandbox: CI's containers run as root. The rest keeps it from asking anything of the network.
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-dev-shm-usage",
)  # fmt: skip
SECONDS = 60


@cache
def missing() -> str:
    """Why there is no browser here; empty where there is one."""
    if find_spec("selenium") is None or find_spec("selenium_axe_python") is None:
        return "selenium is not installed; make test does it"
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"there is no {program} here; apt-get install chromium chromium-driver"
    return ""


@contextmanager
def browser(width: int = 1280, height: int = 900, dark: bool = False):
    """Give a driver with a profile of its own, which logs what the pages' consoles say."""
    driver_module = import_module("selenium.webdriver")
    with tempfile.TemporaryDirectory() as profile:
        options = driver_module.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for option in (*OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = driver_module.ChromeService(executable_path=shutil.which("chromedriver"))
        driver = driver_module.Chrome(options=options, service=service)
        try:
            driver.set_page_load_timeout(SECONDS)
            driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
            )
            theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})
            yield driver
        finally:
            driver.quit()


def complaints(driver) -> list[str]:
    """What the console has said since it was last asked."""
    return [entry["message"] for entry in driver.get_log("browser")]


def violations(driver) -> list[str]:
    """What axe-core finds wrong with the page, a line each."""
    (script,) = Path(str(resources.files("selenium_axe_python"))).rglob("axe.min.js")
    driver.execute_cdp_cmd("Runtime.evaluate", {"expression": script.read_text(encoding="utf-8")})
    found = driver.execute_async_script("axe.run().then(arguments[0])")
    return [f"{each['id']}: {node['html'][:200]}" for each in found["violations"] for node in each["nodes"]]


def screenshot(driver, path: Path, height: int | None = None) -> Path:
    """A picture of the page, whole or its first `height` pixels."""
    from base64 import b64decode

    metrics = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": metrics["width"], "height": min(metrics["height"], height or 10**6), "scale": 1}
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    path.write_bytes(b64decode(taken["data"]))
    return path
