"""Shows a check's figures as a table with verdicts at its end."""

from collections.abc import Iterator

from benchmarks.gpu.worker import FAILED

GIB = 2**30
LONG = 60  # entries of a group that are shown


def derive(stages: dict) -> None:
    """Add what only several stages together tell: ours' share of the measured peak (model FLOP utilisation).

    Of what is computed for the result; activations that are computed again do not count.
    """
    figures = {name: stage["figures"] for name, stage in stages.items()}
    rate = figures.get("ours", {}).get("images_per_second")
    tflop = figures.get("variants", {}).get("model_tflop_an_image")
    peak = figures.get("environment", {}).get("bf16_peak_tflops")
    if rate and tflop and peak:
        figures["ours"]["share_of_measured_peak"] = rate * tflop / peak


def lines(report: dict) -> Iterator[str]:
    """Yield the table of a report, a figure a line, then a verdict a stage."""
    for name, stage in report["stages"].items():
        yield f"\n{name}"
        for figure, value in stage["figures"].items():
            yield from of_figure(figure, value)
    yield "\nverdicts"
    for name, stage in report["stages"].items():
        why = " ".join(stage["why"].split())[:200]
        yield f"  {stage['outcome']:<13} {name} ({stage['seconds']:.1f} s){': ' if why else ''}{why}"
        for check, passed in stage["checks"].items():
            if not passed:
                yield f"  {'':<13}   not so: {check}"
    outcomes = [stage["outcome"] for stage in report["stages"].values()]
    counts = [f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes)]
    yield f"  {', '.join(counts)}; {report['total_seconds']:.0f} s"


def of_figure(name: str, value: object, depth: int = 1) -> Iterator[str]:
    """Yield a figure's lines: a group of numbers in one, a group of groups in one each."""
    space = "  " * depth
    if isinstance(value, dict) and any(isinstance(each, dict) for each in value.values()):
        yield f"{space}{name}:"
        for inner, each in value.items():
            yield from of_figure(inner, each, depth + 1)
    elif isinstance(value, dict):
        items = list(value.items())
        said = ", ".join(f"{shown_name(key)} {shown(key, each)}" for key, each in items[:LONG])
        yield f"{space}{name}: {said}{' …' if len(items) > LONG else ''}"
    elif isinstance(value, list):
        yield f"{space}{name}: {', '.join(shown(name, each) for each in value[:8])}{' …' if len(value) > 8 else ''}"
    else:
        yield f"{space}{shown_name(name)}: {shown(name, value)}"


def shown_name(name: str) -> str:
    """A figure's name without its unit, which stands behind the number."""
    for unit in ("_bytes", "_seconds", "_gb_s", "_per_second"):
        if name.endswith(unit):
            name = name[: -len(unit)]
    return name.replace("_", " ")


def shown(name: str, value: object) -> str:
    """A value with the unit that its name ends in."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return str(value)
    if name.endswith("_bytes"):
        return f"{value / GIB:.3f} GiB"
    number = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    unit = "GB/s" if name.endswith("_gb_s") else "s" if name.endswith("seconds") else ""
    unit = "a second" if name.endswith("_per_second") else unit
    return f"{number} {unit}".strip()


def has_failed(report: dict) -> bool:
    """Tell whether a stage failed. What was skipped for a reason, came to no time or to no memory has not."""
    return any(stage["outcome"] == FAILED for stage in report["stages"].values())
