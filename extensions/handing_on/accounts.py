"""Reads the four accounts of a run, topic by topic: the logbook's words, the recorded flags and logs, our launcher.

A topic that an account says nothing of is not in it. Values are texts, written alike, so that equal ones are equal.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from extensions.flags import settings
from extensions.flags.settings import UNET, UPSTREAM, Settings
from extensions.flags.words import Flags
from extensions.handing_on import objectives_told as objectives
from extensions.logbook import header, registry
from extensions.logbook.registry import Run
from extensions.report.planned import words_of

FILE = Path(__file__).with_name("recorded_runs.json")
STRUCK = re.compile(r"~~.*?~~")
RATES = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?e-\d+)(?: \+ (\d+(?:\.\d+)?e-\d+))?")
# In the logbook's order of saying it; the run's own words win over the session's.
OPTIMIZERS = {"AdamW8bit": "AdamW8bit", "Lion 8bit": "Lion8bit", "AdaFactor": "AdaFactor", "Lion": "Lion"}
# The folders of latents of the recorded commands, by the logbook's name of the set.
DATA = {"kohyas_finetune": "6k", "kohyas_finetune_sd1": "6k", "just_astolfo": "6k", "test": "20", "dataset": "12.4M"}
BASE = re.compile(r"x(\d+[a-z])-")
# Of later sessions, by the beginning of their files.
BASES = {
    "x10a-AstolfoKarmix-25083001": "AK-NIL-1.2", "x11a-AstolfoCarmix-25110301": "AC-NIL-0.1",
    "x11a-AstolfoCarmix-25082501": "AC-NoobAI-1.0", "AstolfoXL-2EP": "2EP", "x1a-AstolfoVL-2_5ep": "VL-2.5EP",
}  # fmt: skip
NO_LINE = "no line in the logbook"  # the words of a run of which its author has published the launcher alone
# Flags whose meaning is a topic of its own, or that only say where a file lies on one machine.
TOLD = frozenset((
    "pretrained_model_name_or_path", "in_json", "train_data_dir", "output_dir", "logging_dir", "log_prefix",
    "use_8bit_adam", "optimizer_type", "learning_rate", "learning_rate_te", "learning_rate_te1",
    "learning_rate_te2", "train_text_encoder", "gradient_accumulation_steps", "max_train_epochs", "initial_step",
    "skip_until_initial_step", "optimizer_args", "seed", "flow_model",
))  # fmt: skip
# What our launchers add, and no recorded run could say: plugins, their flags, where things lie.
OURS = frozenset(("extensions", "tokenizer_cache_dir", "dataset_class", "stop_at_step"))


@cache
def recorded() -> dict[str, dict[str, Any]]:
    """Return what was recorded, by run."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    return {run: row for run, row in found.items() if run != "what"}


def of(run: Run) -> dict[str, dict[str, str]]:
    """Return {account: {topic: value}} of a run of the logbook."""
    row = recorded().get(run.run, {"logs": []})
    head = header.read(registry.LAUNCHERS / f"{run.run}.sh")
    alone = {"account": "a command"} if head.words == NO_LINE else {}
    return {
        "words": of_words(run.run, head.words, head.defaults),
        "flags": of_command(row["command"], run) | alone if "command" in row else {},
        "log": of_logs(row["logs"]),
        "launcher": of_launcher(run, row.get("command", {}).get("flags", {})),
    }


def of_words(run: str, words: str, defaults: str) -> dict[str, str]:
    """Return what the logbook says."""
    if words == NO_LINE:
        return {"account": "none"}
    own, all_ = STRUCK.sub("", words), STRUCK.sub("", f"{words}; {defaults}")

    def first(pattern: str) -> str | None:
        found = re.search(pattern, all_)
        return next(filter(None, found.groups())) if found else None

    percent = first(r"(\d+)% UNET") or ("100" if "full UNET" in all_ else None)
    said = {
        "base": first(r"(\d+[a-z]|A[CK]-\S+|[\d.]+EP|VL-\S+) base"),
        "data": first(r"([\d.]+[kM]?) dataset"),
        "GPUs": "1" if "Single GPU" in own else first(r"(\d+)GPU") or ("1" if "Single GPU" in all_ else None),
        "U-Net %": percent,
        "text encoders": first(r"TTE (only|off|on)"),
        "optimizer": next((name for said, name in OPTIMIZERS.items() if said in own), None)
        or next((name for said, name in OPTIMIZERS.items() if said in all_), None),
        "accumulation": first(r"GA (\d+) step"),
        "text": "a1111" if "a1111 token trick" in all_ and "Tag only" not in own else None,
        "RAM disk": "on" if "ramdisk on" in own else None,
        "NUMA node": first(r"numa process (\d+)"),
        "epochs": first(r"(?<![\w.+-])((?:\d+\+)?\d+)EP\b(?! base)"),
        "log name": run,
    }
    found = {topic: value for topic, value in said.items() if value} | rates(own, all_) | segment(own)
    return found | objectives.of_words(own, all_)


def rates(own: str, all_: str) -> dict[str, str]:
    """Return the learning rates, "U-Net + text encoders", of the run's own words, else its session's."""
    found = RATES.search(own) or RATES.search(all_)
    if found is None:
        return {}
    only = re.search(r"TTE only", own) and not found[2]
    unet = {} if only else {"rate of the U-Net": number(found[1])}
    encoders = found[1] if only else found[2]
    return unet | ({"rate of the text encoders": number(encoders)} if encoders else {})


def segment(words: str) -> dict[str, str]:
    """Return the borders of a segment: "steps 40-50k", or "steps 320-1EP" to the end of the epoch."""
    found = re.search(r"steps (\d+)-(?:(\d+)k|1EP)", words)
    if not found:
        return {}
    end = f"{int(found[2]) * 1000}" if found[2] else "1EP"
    return {"first step": f"{int(found[1]) * 1000}", "last step": end}


def of_command(command: Mapping[str, Any], run: Run) -> dict[str, str]:
    """Return what the recorded command says."""
    flags = command["flags"]
    made = settings.of_words(Flags.of({name: words_of(value) for name, value in flags.items() if known(name)}))
    base = registry.base_name(flags["pretrained_model_name_or_path"].replace("<ramdisk>/", ""))
    log_name = re.search(r"(\d{8})", flags["log_prefix"])
    on_ramdisk = [value.startswith("<ramdisk>") for value in (flags["in_json"], flags["train_data_dir"])]
    first_step = flags.get("initial_step", "0" if run.stop_step else None)
    said = {
        "base": None if run.parent else alias(base),
        "begins with": base if run.parent else None,
        "data": DATA[Path(flags["train_data_dir"]).name],
        "text": f"{made.token_length} tokens",
        "RAM disk": {(True, True): "on", (False, False): None}.get(tuple(on_ramdisk), "in part"),
        "NUMA node": node(command["launcher"]),
        "log name": log_name[1] if log_name else None,
        "first step": first_step,
        "trainer": command["script"],
        "threads": threads(command),
    }
    said |= {f"--{name}": value_text(value) for name, value in flags.items() if name not in TOLD}
    found = {topic: value for topic, value in said.items() if value} | trained(made, flags)
    return found | objectives.of_command(made, flags)


def alias(base: str) -> str:
    """Return the logbook's name of a recorded base; the file's where it has none."""
    named = next((name for file, name in BASES.items() if base.startswith(file)), None)
    return named or (found[1] if (found := BASE.match(base)) else base)


def known(name: str) -> bool:
    """Tell whether a flag is one that is asked for its meaning: the plugins have their own, by the same names."""
    return name not in {"initial_step", "skip_until_initial_step"}


def trained(made: Settings, flags: Mapping[str, Any]) -> dict[str, str]:
    """Return what trains, how, and how long."""
    unet = made.rates.get(UNET)
    encoders = next((rate for name, rate in made.rates.items() if name != UNET), None)
    args = " ".join(words_of(flags.get("optimizer_args", [])))
    optimizer = made.optimizer.rpartition(".")[2]
    found = {
        "text encoders": ("on" if unet else "only") if made.encoders_train else "off",
        "optimizer": f"cautious {optimizer}" if "cautious=True" in args else optimizer,
        "accumulation": str(made.accumulation),
        "epochs": str(made.epochs),
    }
    found |= {"rate of the U-Net": number(unet or 0), "rate of the text encoders": number(encoders or 0)}
    return found | ({"seed": str(flags["seed"])} if "seed" in flags else {})


def of_logs(logs: list[dict[str, Any]]) -> dict[str, str]:
    """Return what the recorded TensorBoard logs say."""
    if not logs:
        return {}
    names = [re.search(r"(\d{8})_", log["log"]) for log in logs]
    last = logs[-1]["rates"]
    unet, encoders = last.get("unet"), last.get("text_encoder1")
    found = {"log name": ", ".join(dict.fromkeys(name[1] for name in names if name))}
    found |= {"optimizer steps": ", ".join(str(log["steps"]) for log in logs)}
    found |= {"text encoders": ("on" if unet else "only") if encoders else "off"}
    return found | {"rate of the U-Net": number(unet or 0), "rate of the text encoders": number(encoders or 0)}


def of_launcher(run: Run, then: Mapping[str, Any]) -> dict[str, str]:
    """Return what our launcher says. then: the recorded flags, of which the same topics are told."""
    made = settings.of_words(Flags.of({name: words_of(value) for name, value in run.flags.items()}))
    text = run.flags.get("token_chunks", UPSTREAM)
    said = {
        "base": run.base,
        "data": run.data.removesuffix("_sd2"),
        "GPUs": str(run.gpus),
        "U-Net %": f"{run.unet_percent:g}",
        "text": str(text) if text != UPSTREAM else f"{made.token_length} tokens",
        "RAM disk": "on" if run.ramdisk else None,
        "NUMA node": None if run.numa is None else str(run.numa),
        "log name": run.run,
        "trainer": run.script,
        "optimizer steps": str(run.steps) if run.steps and not run.parent and not run.stop_step else None,
    }
    if run.parent or run.stop_step:
        said |= {"first step": str(run.start_step), "last step": str(run.stop_step or run.steps)}
    if run.parent:
        said["begins with"] = Path(str(run.flags["pretrained_model_name_or_path"])).name
    plugins = {flag.name for flag in settings.manager.flags_of(made.plugins)}
    names = [name for name in dict.fromkeys([*then, *run.flags]) if name not in TOLD | OURS | plugins]
    said |= {f"--{name}": value_text(run.flags[name]) for name in names if name in run.flags}
    found = {topic: value for topic, value in said.items() if value} | trained(made, run.flags)
    return found | objectives.of_launcher(made, run.flags)


def node(launcher: str) -> str | None:
    """Return the NUMA node that a recorded command was bound to."""
    found = re.search(r"cpunodebind=(\d+)|numa(\d+)\.yaml", launcher)
    return found[1] or found[2] if found else None


def threads(command: Mapping[str, Any]) -> str | None:
    """Return what a recorded command says of threads."""
    found = re.search(r"num_cpu_threads_per_process[= ](\d+)", command["launcher"])
    said = [f"{found[1]} a process"] if found else []
    said += [f"{name}={value}" for name, value in command["env"].items()]
    return ", ".join(said) or None


def value_text(value: Any) -> str:
    """Return a flag's value; a switch reads "on"."""
    return "on" if value is True else " ".join(words_of(value))


def number(value: str | float) -> str:
    """Return a rate, however it was written, in one way."""
    return f"{float(value):.12g}"
