"""Which of the two trainers a launch uses: sd-scripts, or the reference trainer.

sd-scripts is what production runs on. A tiny run on a machine that cannot get it goes on with the
reference trainer and says so; a full-size run takes weeks, and never changes its trainer unasked.
"""

from pathlib import Path

from extensions.base.errors import UserError
from extensions.launch.request import REFERENCE, SD_SCRIPTS, Request
from extensions.upstream import submodule, tree


def settle(request: Request) -> None:
    """Set `request.trainer` to what can be had. UserError where sd-scripts is needed and cannot be."""
    if request.trainer == SD_SCRIPTS:
        try:
            submodule.ensure()
        except UserError as error:
            fall_back(request, str(error))


def fall_back(request: Request, reason: str) -> None:
    """Go on with the reference trainer, with a word; UserError where nobody could want that."""
    if request.machines.count > 1:
        raise UserError(f"{reason}; or give TRAINER=reference on every machine: all must run the same trainer")
    if request.trainer_asked or request.sd_scripts_commit:
        raise UserError(reason)
    if not request.tiny:
        raise UserError(f"{reason}; or ask for the reference trainer by name: TRAINER=reference")
    request.trainer = REFERENCE
    request.notes += [
        f"trainer: the reference trainer instead of sd-scripts: {reason.split(';', maxsplit=1)[0]}",
        "trainer: for sd-scripts go online once and run: git submodule update --init",
    ]


def location(request: Request) -> Path | None:
    """Where the patched tree is or would be; None for the reference trainer."""
    if request.trainer == REFERENCE:
        return None
    commit = request.sd_scripts_commit
    return tree.location(tree.resolve(submodule.SUBMODULE, commit) if commit else None)


def build(request: Request) -> Path | None:
    """The patched tree, built where need be; None for the reference trainer."""
    return None if request.trainer == REFERENCE else tree.ensure(request.sd_scripts_commit or None)


def identity(request: Request) -> dict:
    """What a record says about the trainer."""
    facts = {"trainer": request.trainer, "sd_scripts_commit": None, "patch_series_sha256": None}
    if request.trainer == SD_SCRIPTS:
        commit = request.sd_scripts_commit
        facts["sd_scripts_commit"] = tree.resolve(submodule.SUBMODULE, commit) if commit else submodule.pin()
        facts["patch_series_sha256"] = tree.series_hash()
    return facts
