"""Reads what the accounts of a run say of its objective: noise, v or flow, its schedule, weights and timesteps."""

import re
from collections.abc import Mapping
from typing import Any

from extensions.flags.settings import Settings
from extensions.model.prediction import EPSILON, FLOW, V

LAW = re.compile(r"logit-normal\([^)]*\)")
# Of the fork that the flow runs were recorded with: its law where no flag names one. It shifts a uniform law alone.
RECORDED_LAW, RECORDED_SHIFT = "logit-normal(0,1)", "1"
UNIFORM, LOGIT_NORMAL = "uniform", "logit_normal"  # of our --timestep_law; the first is its default


def of_words(own: str, all_: str) -> dict[str, str]:
    """Return what the logbook says. own: the run's line; all_: and its session's defaults."""
    if "eps mode" in own:
        return {"objective": EPSILON}
    if "v-pred" in all_:
        gamma = None if "min-SNR off" in own else re.search(r"min-SNR (\d+)", all_)
        found = {"objective": V} | ({"--zero_terminal_snr": "on"} if "ZTSNR" in all_ else {})
        return found | ({"--min_snr_gamma": gamma[1]} if gamma else {})
    if not re.search(r"\bRF\b", all_):
        return {}
    law, shift = LAW.search(all_), re.search(r"timestep shift ([\d.]+)", all_)
    found = {"objective": FLOW} | ({"timestep law": law[0]} if law else {})
    return found | ({"timestep shift": shift[1]} if shift else {})


def of_command(made: Settings, flags: Mapping[str, Any]) -> dict[str, str]:
    """Return what the recorded flags say; of flow, which its trainer had and upstream has not, by their effect."""
    if "flow_model" not in flags:
        return {"objective": made.prediction}
    return {"objective": FLOW, "timestep law": RECORDED_LAW, "timestep shift": RECORDED_SHIFT}


def of_launcher(made: Settings, flags: Mapping[str, Any]) -> dict[str, str]:
    """Return what our launcher says, a law as the logbook writes it."""
    if made.prediction != FLOW:
        return {"objective": made.prediction}
    law = str(flags.get("timestep_law", UNIFORM))
    if law == LOGIT_NORMAL:
        law = f"logit-normal({flags.get('timestep_mean', 0)},{flags.get('timestep_deviation', 1)})"
    return {"objective": FLOW, "timestep law": law, "timestep shift": str(flags.get("timestep_shift", 1))}
