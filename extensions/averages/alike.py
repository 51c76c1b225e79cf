"""Refuses checkpoints that cannot be blended, by their headers alone: names, shapes, dtypes, what they predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from extensions.base.errors import UserError
from extensions.model import prediction, published
from extensions.model.checkpoint import FAMILIES, Header, shortened
from extensions.model.folder import AVERAGE

DTYPES = {"fp16": "F16", "bf16": "BF16", "fp32": "F32"}  # by the name that a person gives
READ = ("F64", "F32", "F16", "BF16")
WIDEST = "widest"  # a dtype that holds what each parent does
V_ZERO_SNR = "v,ztsnr"
PREDICTS = (prediction.EPSILON, prediction.V, V_ZERO_SNR, prediction.FLOW)
EXAMPLES = 3  # tensors named in a line
# Of a parent's metadata: who made it, when, and of which file; a blend is none of these.
OWN = (
    *(f"sdxl_trainer.{key}" for key in ("run", "started", "parent", "optimizer_steps", "blend")), AVERAGE, "ss_",
    "modelspec.hash_sha256", "modelspec.thumbnail", "modelspec.date", "modelspec.title", "modelspec.merged_from",
    "modelspec.description",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What a blend holds. tensors: {name: (shape, dtype as the format writes it)}; marks: empty tensors of its own.

    metadata: what all parents say alike, and what the U-Net predicts.
    """

    tensors: dict[str, tuple[tuple[int, ...], str]]
    marks: tuple[str, ...]
    metadata: dict[str, str]
    notes: tuple[str, ...] = ()


def layout(parents: Sequence[Header], dtype: str = "", predicts: str = "") -> Layout:
    """Return what a blend of these checkpoints holds. UserError where they do not fit together.

    dtype: one of DTYPES for all tensors, WIDEST, or "" for that of the parents, which then must be one. predicts: one
    of PREDICTS, what the blend is marked for; "" for what all parents say.
    """
    first, *others = parents
    family = first.family
    notes = [*noted(first, published.check(first, first.family if family != "unknown" else "sdxl"))]
    for other in others:
        if other.family != family:
            raise UserError(
                f"{first.path} is {FAMILIES[family]}, {other.path} is {FAMILIES[other.family]}; blend two of a kind"
            )
        notes += noted(other, published.check(other, family))
    required, optional = published.layout(first, family)
    lone = [name for name in optional if 0 < sum(name in each.shapes for each in parents) < len(parents)]
    if lone:
        notes.append(f"note: left out, for not all parents have them and no trainer reads them: {some(lone)}")
    names = [name for name in (*required, *optional) if all(name in each.shapes for each in parents)]
    require_shapes(parents, names)
    marks, metadata = marked(parents, predicts)
    return Layout(
        {name: (first.shapes[name], dtype_of(name, parents, dtype)) for name in names}, marks,
        common(parents) | metadata, tuple(notes),
    )  # fmt: skip


def noted(header: Header, extras: list[str]) -> list[str]:
    return [f"note: left out of {header.path}, for no trainer reads them: {each}" for each in extras]


def require_shapes(parents: Sequence[Header], names: Sequence[str]) -> None:
    """Raise UserError where a tensor has another shape in another parent."""
    first = parents[0]
    for other in parents[1:]:
        if unlike := [name for name in names if first.shapes[name] != other.shapes[name]]:
            shapes = f"{shortened(unlike[0])} is {first.shapes[unlike[0]]} and {other.shapes[unlike[0]]}"
            raise UserError(
                f"{first.path} and {other.path} are of different sizes: {len(unlike):,} tensors differ in shape, "
                f"{shapes}; blend two of the same model"
            )


def dtype_of(name: str, parents: Sequence[Header], dtype: str) -> str:
    """Return the dtype of a tensor of the blend. UserError where parents have several, or one that is not read."""
    found = list(dict.fromkeys(each.dtypes[name] for each in parents))
    if odd := [each for each in found if each not in READ]:
        where = next(each.path for each in parents if each.dtypes[name] in odd)
        raise UserError(f"{where}: tensor {shortened(name)} is in {odd[0]}, of which no blend is made; convert it")
    if dtype == WIDEST or not dtype and len(found) == 1:
        return found[0] if len(found) == 1 else "F64" if "F64" in found else "F32"
    if not dtype:
        each = " and ".join(f"{one.path} in {one.dtypes[name]}" for one in parents)
        raise UserError(f"tensor {shortened(name)} is in different dtypes: {each}; make blend takes DTYPE=fp16")
    return DTYPES[dtype]


def marked(parents: Sequence[Header], predicts: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the marks of the prediction that a blend has, and its metadata. UserError where parents disagree."""
    if predicts:
        if predicts not in PREDICTS:
            raise UserError(f"PREDICTS={predicts} is unknown; there is {', '.join(PREDICTS)}")
        said, marks = predicts.partition(",")[0], marks_for(predicts)
        return (marks if parents[0].family == "sdxl" else ()), {prediction.METADATA: said}
    said_by = {str(each.path): (prediction.marked(each), prediction.ZERO_SNR in each.shapes) for each in parents}
    known = {said for said in said_by.values() if said[0] is not None}
    if len(known) > 1:
        told = ", ".join(f"{Path(path).name} {shown(*said)}" for path, said in said_by.items() if said[0])
        raise UserError(
            f"the parents do not predict the same: {told}; give PREDICTS={' or '.join(PREDICTS)}, which the blend is "
            f"then marked for (a launch: --{prediction.CHANGE})"
        )
    if not known:
        return (), {}
    said, _ = known.pop()
    all_marks = [name for name in prediction.MARKS if any(name in each.shapes for each in parents)]
    return tuple(all_marks), {prediction.METADATA: said or ""}


def predicted(said: str, zero_snr: bool) -> str:
    """Return the one of PREDICTS that a run with these settings trains."""
    return V_ZERO_SNR if said == prediction.V and zero_snr else said


def marks_for(predicts: str) -> tuple[str, ...]:
    """Return the names of the empty tensors for one of PREDICTS."""
    return {prediction.V: prediction.MARKS[:1], V_ZERO_SNR: prediction.MARKS}.get(predicts, ())


def shown(said: str | None, zero_snr: bool) -> str:
    return prediction.shown(said or "nothing") + (" with zero terminal SNR" if zero_snr else "")


def common(parents: Sequence[Header]) -> dict[str, str]:
    """Return the metadata that all parents have alike, less what is of one file alone."""
    first, *others = (each.metadata for each in parents)
    return {
        name: text
        for name, text in first.items()
        if not name.startswith(OWN) and all(other.get(name) == text for other in others)
    }


def some(names: Sequence[str]) -> str:
    return ", ".join(map(shortened, names[:EXAMPLES])) + (", …" if len(names) > EXAMPLES else "")
