"""Checks that all ranks start alike: at the same optimizer step, from the same state, with the same data.

A machine may not see the state. It may have other metadata, or the file is replaced while the processes open it, one
after the other; each of them would then train in an order of its own, and none would notice.
"""

from extensions.base.errors import UserError
from extensions.base.processes import from_all
from extensions.resume.description import State
from extensions.resume.process_notes import named


def require(accelerator, start: int, state: State | None, data: str) -> None:
    """Raise UserError, on every process, that names the processes that differ from process 0.

    start: optimizer steps that count as done. data: the fingerprint of what this process has opened.
    """
    found = from_all(accelerator, (start, None if state is None else state.facts.written_ns, data))
    step, written, images = found[0]
    if apart := [process for process, each in enumerate(found) if each[:2] != (step, written)]:
        other = found[apart[0]][0]
        raise UserError(
            f"the processes would start apart ({named(apart)} at optimizer step {other}, process 0 at {step}); every "
            "machine must be able to read the output folder, or a copy of its states"
        )
    if others := [process for process, each in enumerate(found) if each[2] != images]:
        raise UserError(
            f"other images or texts than process 0 has were opened by {named(others)}: the same --in_json must be on "
            "every machine, and stay as it is while a run starts; see to that and start again"
        )
