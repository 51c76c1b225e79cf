"""Finds the training state that a launch goes on from: RESUME=auto, RESUME=parent, roll-backs within a launch."""

import json
from datetime import datetime, timezone
from pathlib import Path

from extensions import manager
from extensions.base.errors import UserError
from extensions.launch.stages import Asked, Resolved, Stage, Staged, become, changed
from extensions.resume import pending_checkpoints, skipped, states
from extensions.resume.description import State

PARENT = "parent"
# The flags of whoever goes on from a state, and of whoever saves them.
GOES_ON, SAVES = "resume_mode", "states_every_n_steps"


def apply(asked: Asked) -> Resolved:
    """Resolve the state that a launch goes on from. UserError for one that is damaged, or leaves nothing to do.

    Without a state the run starts as its launcher says, and that is told.
    """
    if not asked.resume:
        return become(Resolved, asked, resumed=given(asked))
    require_plugins(asked)
    state, notes = chosen(asked)
    resolved = become(Resolved, asked, notes=notes)
    if state is None:
        note = f"RESUME={asked.resume}: no training state in {asked.output} yet; starting as launched"
        return changed(resolved, notes=[note])
    return go_on(resolved, state)


def go_on(now: Stage, state: State) -> Stage:
    """Return the same launch, continued from this state."""
    notes, last = [], end_of(now)
    if last is not None and state.optimizer_steps >= last:
        name = pending_checkpoints.last_name(now.flags.get("output_name"))
        if state.optimizer_steps > last or not pending_checkpoints.owed(state, now.output, name):
            raise UserError(
                f"{state.path} is at optimizer step {state.optimizer_steps}, the run ends at {last}: it is complete; "
                "to train on raise --stop_at_step, or --max_train_steps and give --resume_allow=flags"
            )
        notes.append(f"the run is at its end, but has left no checkpoint {name!r}: that is written now")
    flags = now.flags.without("initial_step", "skip_until_initial_step")
    flags = flags.with_(GOES_ON, "exact").with_("resume_from", state.path)
    notes.append(f"resuming at optimizer step {state.optimizer_steps:,} from {state.path}")
    return changed(now, flags=flags, state=state, resumed=True, notes=notes)


def chosen(asked: Asked) -> tuple[State | None, list[str]]:
    """Find the newest good state of this run; with RESUME=parent, for a run that has none, its parent's at its start.

    And a note of each state that was passed over.
    """
    notes: list[str] = []
    own = states.newest_good(states.folder_of(asked.output), notes.append)
    if notes and not own and asked.resume != PARENT:
        raise UserError(none_good(asked, notes))
    if own or asked.resume != PARENT:
        return own, notes
    if not asked.parent:
        raise UserError(f"RESUME=parent, but train/{asked.run}.sh names no PARENT; give RESUME=auto")
    folder = states.folder_of(asked.output.with_name(f"model_out_{asked.parent}"))
    path = folder / states.name_of(asked.settings.start_step)
    if not path.is_dir():
        raise UserError(f"RESUME=parent: {asked.parent} has left no {path}; run it first, or drop RESUME")
    state = states.read(path)
    states.verify(state)
    return state, notes


def none_good(asked: Asked, notes: list[str]) -> str:
    """Say that the states of a run are damaged, all of them, and what can be done: never begin over them unasked."""
    more = f", and {len(notes) - 1} more" if len(notes) > 1 else ""
    parent = f"RESUME=parent goes on from {asked.parent}, " if asked.parent else ""
    return (
        f"RESUME=auto: {states.folder_of(asked.output)} has no training state that can be used "
        f"({notes[0].removeprefix('passed over: ')}{more}); put an older state there, or: {parent}"
        "FORCE=1 begins anew and keeps what is there aside"
    )


def given(asked: Asked) -> bool:
    """Tell whether the launcher or ARGS name a state themselves; it is read and verified before anything starts."""
    path = asked.flags.get("resume_from")
    if path:
        states.verify(states.read(Path(path)))
    return bool(path)


def require_plugins(asked: Asked) -> None:
    """Raise UserError where the run would save no state, or could not go on from one."""
    for flag in (GOES_ON, SAVES):
        owner = manager.owner_of_flag(flag)
        if owner not in asked.settings.plugins:
            raise UserError(f"RESUME={asked.resume} needs {owner} in --extensions; add it to train/{asked.run}.sh")


def end_of(asked: Asked) -> int | None:
    """Return the optimizer step at which the run ends, where its flags say one."""
    said = [asked.flags.number(name) for name in ("stop_at_step", "max_train_steps") if name in asked.flags]
    return min(said, default=None)


def set_aside(now: Staged) -> Staged:
    """Rename the states of an earlier life where a run begins anew, or from its parent; the launch with a note of it.

    Its own would push them out one by one, and before it has one RESUME=auto would go on from theirs. Damaged ones,
    too: a state of the same step would be written over them.
    """
    folder = states.folder_of(now.output)
    goes_on = now.resumed and (now.state is None or now.state.path.parent == folder)
    if goes_on or now.machines.rank or not any(folder.glob("step*")):
        return now
    states.remove_left(folder)  # half a state set aside would lie there for ever
    aside = folder.with_name(f"{folder.name}-before-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}")
    folder.rename(aside)
    why = f"RESUME={now.resume}" if now.resumed else "FORCE=1"
    note = f"{why}: the training states of before are now in {aside}; remove them when you like"
    return changed(now, notes=[note])


def rolled_back(now: Staged, folder: Path) -> Staged | None:
    """Go on from the last state without some samples, where a run that has ended asks for it; the new launch.

    folder: the run folder of the launch that ended.
    """
    path = folder / skipped.REQUEST
    if not path.is_file():
        return None
    asked = json.loads(path.read_text(encoding="utf-8"))
    again = go_on(now, states.read(Path(asked["state"])))
    print(
        f"rolling back: optimizer step {asked['optimizer_step']:,} was not finite; going on from {asked['state']} "
        f"without {', '.join(asked['samples'])}",
        flush=True,
    )
    return again
