"""The page's figures for a U-Net: bf16 weights move as fp32's do, which `nearest` does not."""

import re

import pytest

from benchmarks import bf16_updates
from extensions.base.paths import ROOT

RATE, STEPS = 1.5e-6, 20  # of the page's 200: the shares are the same, the cosines are still lower


def shares_of_the_page() -> dict[str, float]:
    """{way: share along fp32's update} of the table of the stand-in's U-Net."""
    page = (ROOT / "docs" / "optimizers.md").read_text(encoding="utf-8")
    table = page.split("| total update of all weights |")[1].split("\n\n")[0]
    return {
        row[1]: float(row[2]) for row in re.finditer(r"^\| ([^|]+) \| [^|]+ \| [^|]+ \| ([\d.]+) \|", table, re.M)
    }


def test_the_page_claims_it():
    said = shares_of_the_page()
    assert said["stochastic"] == pytest.approx(1, abs=0.02) == said["kahan, with its remainder"]
    assert said["nearest"] < 0.1


@pytest.mark.slow
def test_a_u_net_moves_along_fp32s_update():
    said = shares_of_the_page()
    cells = dict(bf16_updates.rows("AdamW8bit", RATE, STEPS))
    along = {label: float(row[2]) for label, row in cells.items()}
    assert along["stochastic"] == pytest.approx(said["stochastic"], abs=0.02)
    assert along["kahan, with remainder"] == pytest.approx(said["kahan, with its remainder"], abs=0.02)
    assert along["nearest"] == pytest.approx(said["nearest"], abs=0.02) and along["nearest"] < 0.1
    # The weights alone are as near as bf16 weights can be.
    assert along["kahan"] == pytest.approx(along["fp32, rounded"], abs=0.02)
    assert float(cells["kahan, with remainder"][0]) > 0.99
