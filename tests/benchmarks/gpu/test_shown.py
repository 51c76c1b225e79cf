"""Figures as lines with their units, verdicts at the end."""

import pytest

from benchmarks.gpu import shown


@pytest.mark.parametrize(
    ("name", "value", "lines"),
    [
        ("state_bytes", 3 * 2**30, ["  state: 3.000 GiB"]),
        ("saved_seconds", 1.25, ["  saved: 1.25 s"]),
        ("saved_gb_s", 2.0, ["  saved: 2 GB/s"]),
        ("images_per_second", 1.5, ["  images: 1.5 a second"]),
        ("graphs", 1234, ["  graphs: 1,234"]),
        ("copies", "skipped: none", ["  copies: skipped: none"]),
        ("moved", True, ["  moved: True"]),
        ("losses", [0.5] * 9, ["  losses: " + ", ".join(["0.5"] * 8) + " …"]),
        ("AdamW", {"seconds": 0.5, "state_bytes": 2**30}, ["  AdamW: seconds 0.5 s, state 1.000 GiB"]),
        ("plan", {"parts": {"a": 1}, "need_gb": 2.5}, ["  plan:", "    parts: a 1", "    need gb: 2.5"]),
    ],
)
def test_figures(name, value, lines):
    assert list(shown.of_figure(name, value)) == lines


def stage(outcome, figures=None, **checks):
    return {"outcome": outcome, "why": "", "seconds": 1.0, "figures": figures or {}, "checks": checks}


def test_the_share_of_the_peak_is_work_for_the_result_over_what_the_card_does():
    stages = {
        "environment": stage("passed", {"bf16_peak_tflops": 80.0}),
        "ours": stage("passed", {"images_per_second": 2.0}),
        "variants": stage("passed", {"model_tflop_an_image": 20.0}),
    }
    shown.derive(stages)
    assert stages["ours"]["figures"]["share_of_measured_peak"] == 0.5
    del stages["environment"], stages["ours"]["figures"]["share_of_measured_peak"]
    shown.derive(stages)
    assert "share_of_measured_peak" not in stages["ours"]["figures"]


def test_a_failed_check_stands_under_its_stage():
    report = {"stages": {"a": stage("failed", holds=False), "b": stage("skipped")}, "total_seconds": 2}
    lines = list(shown.lines(report))
    assert lines[-1] == "  1 failed, 1 skipped; 2 s" and any("not so: holds" in line for line in lines)
    assert shown.has_failed(report)
    report["stages"].pop("a")
    assert not shown.has_failed(report)
