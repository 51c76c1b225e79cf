"""RESUME=auto and RESUME=parent: which training state a launch goes on from; and roll-backs within a launch."""

import json
from datetime import datetime, timezone
from pathlib import Path

from extensions.base.errors import UserError
from extensions.launch.request import Request
from extensions.resume import pending_checkpoints, skipped, states
from extensions.resume.states import State

PARENT = "parent"
NEEDED = ("resume_at_step", "save_states")


def apply(request: Request) -> None:
    """Point the run at the state to go on from. UserError for one that is damaged, or leaves nothing to do.

    Without a state the run starts as its launcher says, and that is told.
    """
    if not request.resume:
        check_given(request)
        return
    require_plugins(request)
    state = chosen(request)
    if state is None:
        request.notes.append(
            f"RESUME={request.resume}: no training state in {request.output} yet; starting as launched"
        )
        return
    go_on(request, state)


def go_on(request: Request, state: State) -> None:
    """Rewrite the flags so that the run continues from this state."""
    last = end_of(request)
    if last is not None and state.optimizer_steps >= last:
        name = pending_checkpoints.last_name(request.flags.get("output_name"))
        if state.optimizer_steps > last or not pending_checkpoints.owed(state, request.output, name):
            raise UserError(
                f"{state.path} is at optimizer step {state.optimizer_steps}, the run ends at {last}: it is complete; "
                "to train on raise --stop_at_step, or --max_train_steps and give --resume_allow=flags"
            )
        request.notes.append(f"the run is at its end, but has left no checkpoint {name!r}: that is written now")
    request.flags.drop("initial_step", "skip_until_initial_step")
    request.flags.put("resume_mode", "exact")
    request.flags.put("resume_from", str(state.path))
    request.resumed = True
    request.notes.append(f"resuming at optimizer step {state.optimizer_steps:,} from {state.path}")


def chosen(request: Request) -> State | None:
    """The newest good state of this run; with RESUME=parent, for a run that has none, its parent's at its start."""
    own = states.newest_good(states.folder_of(request.output), request.notes.append)
    if own or request.resume != PARENT:
        return own
    if not request.parent:
        raise UserError(f"RESUME=parent, but train/{request.run}.sh names no PARENT; give RESUME=auto")
    folder = states.folder_of(request.output.with_name(f"model_out_{request.parent}"))
    path = folder / states.name_of(request.flags.number("initial_step"))
    if not path.is_dir():
        raise UserError(f"RESUME=parent: {request.parent} has left no {path}; run it first, or drop RESUME")
    state = states.read(path)
    states.verify(state)
    return state


def check_given(request: Request) -> None:
    """A state that the launcher or ARGS names is read and verified before anything starts."""
    if path := request.flags.get("resume_from"):
        states.verify(states.read(Path(path)))
        request.resumed = True


def require_plugins(request: Request) -> None:
    """UserError where the run would save no state, or could not go on from one."""
    listed = (request.flags.get("extensions") or "").split(",")
    for name in NEEDED:
        if name not in listed:
            raise UserError(f"RESUME={request.resume} needs {name} in --extensions; add it to train/{request.run}.sh")


def end_of(request: Request) -> int | None:
    """The optimizer step at which the run ends, where its flags say one."""
    said = [request.flags.number(name) for name in ("stop_at_step", "max_train_steps") if name in request.flags]
    return min(said, default=None)


def set_aside(request: Request) -> None:
    """A run that begins anew (FORCE=1) leaves the states of its earlier life under another name.

    Its own would push them out one by one, and before it has one RESUME=auto would go on from theirs.
    """
    folder = states.folder_of(request.output)
    if request.resumed or request.machines.rank or not states.found(folder)[0]:
        return
    states.remove_left(folder)  # half a state set aside would lie there for ever
    aside = folder.with_name(f"{folder.name}-before-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}")
    folder.rename(aside)
    request.notes.append(f"FORCE=1: the training states of before are now in {aside}; remove them when you like")


def rolled_back(request: Request, folder: Path) -> bool:
    """Whether a run that has ended asks to go on from its last state without some samples; then the flags do.

    folder: the run folder of the launch that ended.
    """
    path = folder / skipped.REQUEST
    if not path.is_file():
        return False
    asked = json.loads(path.read_text(encoding="utf-8"))
    go_on(request, states.read(Path(asked["state"])))
    print(
        f"rolling back: optimizer step {asked['optimizer_step']:,} was not finite; going on from {asked['state']} "
        f"without {', '.join(asked['samples'])}",
        flush=True,
    )
    return True
