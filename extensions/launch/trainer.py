"""Chooses the trainer of a launch: sd-scripts, or the reference trainer.

sd-scripts is what production runs on. A tiny run on a machine that cannot get it goes on with the
reference trainer and says so; a full-size run takes weeks, and never changes its trainer unasked.
"""

from pathlib import Path

from extensions.base.errors import UserError
from extensions.launch.stages import REFERENCE, SD_SCRIPTS, Asked, Stage, changed
from extensions.upstream import submodule, tree


def settle(now: Stage) -> Stage:
    """Return the launch with the trainer that can be had. UserError where sd-scripts is needed and cannot be."""
    if now.trainer == SD_SCRIPTS:
        try:
            submodule.ensure()
        except UserError as error:
            return fall_back(now, str(error))
    return now


def fall_back(now: Stage, reason: str) -> Stage:
    """Go on with the reference trainer, with a word; UserError where nobody could want that."""
    if now.machines.count > 1:
        raise UserError(f"{reason}; or give TRAINER=reference on every machine: all must run the same trainer")
    if now.trainer_asked or now.sd_scripts_commit:
        raise UserError(reason)
    if not now.tiny:
        raise UserError(f"{reason}; or ask for the reference trainer by name: TRAINER=reference")
    notes = [
        f"trainer: the reference trainer instead of sd-scripts: {reason.split(';', maxsplit=1)[0]}",
        "trainer: for sd-scripts go online once and run: git submodule update --init",
    ]
    return changed(now, trainer=REFERENCE, notes=notes)


def location(asked: Asked) -> Path | None:
    """Return where the patched tree is or would be; None for the reference trainer."""
    if asked.trainer == REFERENCE:
        return None
    commit = asked.sd_scripts_commit
    return tree.location(tree.resolve(submodule.SUBMODULE, commit) if commit else None)


def build(asked: Asked) -> Path | None:
    """Return the patched tree, built where need be; None for the reference trainer."""
    return None if asked.trainer == REFERENCE else tree.ensure(asked.sd_scripts_commit or None)


def identity(asked: Asked) -> dict:
    """Return what a record says about the trainer."""
    facts = {"trainer": asked.trainer, "sd_scripts_commit": None, "patch_series_sha256": None}
    if asked.trainer == SD_SCRIPTS:
        commit = asked.sd_scripts_commit
        facts["sd_scripts_commit"] = tree.resolve(submodule.SUBMODULE, commit) if commit else submodule.pin()
        facts["patch_series_sha256"] = tree.series_hash()
    return facts
