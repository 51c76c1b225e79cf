"""Reads and sets the marks by which a checkpoint says what its U-Net predicts.

Neither keys nor shapes tell noise (epsilon) from v (arXiv 2202.00512) or from rectified flow (2209.03003). User
interfaces go by two tensors that nobody else reads: `v_pred`, and `ztsnr` where the schedule ends at SNR 0 (arXiv
2305.08891); trainers also write `modelspec.prediction_type` into the metadata, where flow is all that there is to go
by. Tensors win: metadata are copied along by tools that do not read them.
"""

from collections.abc import Container

from extensions.base.errors import UserError
from extensions.model.checkpoint import Header, shortened

V_PRED, ZERO_SNR = MARKS = "v_pred", "ztsnr"
EPSILON, V, FLOW, EDM = "epsilon", "v", "flow", "edm"
METADATA = "modelspec.prediction_type"
CHANGE = "change_prediction"  # the flag that lets a run train something else than its base model predicts
CHANGE_HELP = "train noise or v, and a schedule, whatever the base model's file is marked for"


def marked(header: Header) -> str | None:
    """Return what the file says that its U-Net predicts; None where it says nothing."""
    if V_PRED in header.shapes:
        return V
    if any(name.startswith("edm_") for name in header.shapes):
        return EDM
    said = header.metadata.get(METADATA, "").strip().lower()
    return {"v": V, "v_prediction": V, "eps": EPSILON}.get(said, said or None)


def check(header: Header, wanted: str, zero_snr: bool, change: bool) -> list[str]:
    """Return notes for a run that trains EPSILON, V or FLOW. UserError where the file says other.

    zero_snr: --zero_terminal_snr. change: --change_prediction, for a run that is to teach its base model another
    prediction.
    """
    v, found = wanted == V, marked(header)
    by = "its tensor v_pred" if V_PRED in header.shapes else f"its metadata, {METADATA}" if found != EDM else "edm_…"
    if found not in (None, wanted):
        mends = {V: "add --v_parameterization", EPSILON: "take --v_parameterization out"}
        mend = mends.get(found or "", "give another base model")
        if FLOW in (found, wanted) and found in (*mends, FLOW):
            mend = f"give --objective={found}"
        return _unlike(header, f"predicts {shown(found)} (says {by}), this run trains {shown(wanted)}", mend, change)
    if v and ZERO_SNR in header.shapes and not zero_snr:
        what = f"has a schedule that ends at SNR 0 (says its tensor {ZERO_SNR}), this run trains without"
        return _unlike(header, what, "add --zero_terminal_snr", change)
    if v and zero_snr and V_PRED in header.shapes and ZERO_SNR not in header.shapes:
        return [f"note: {header.path} is marked v_pred without ztsnr; this run trains --zero_terminal_snr"]
    return []


def shown(prediction: str) -> str:
    """Return a prediction as a person calls it."""
    return {EPSILON: "noise (epsilon)", V: "v", FLOW: "flow"}.get(prediction, shortened(prediction))


def _unlike(header: Header, what: str, mend: str, change: bool) -> list[str]:
    if change:
        return [f"note: {header.path} {what}, as --{CHANGE} asks"]
    raise UserError(f"{header.path} {what}; {mend}, or give --{CHANGE} to teach it the other")


def marks_of(args, family: str, base: Container[str]) -> tuple[str, ...]:
    """Return the names of the empty tensors that the checkpoint of a run with these parsed flags has.

    base: the names in the base model's file. Of SD2 nobody goes by marks: there they are kept true, and not added.
    """
    if not getattr(args, "v_parameterization", False) or (
        family == "sd2" and not any(mark in base for mark in MARKS)
    ):
        return ()
    return MARKS if getattr(args, "zero_terminal_snr", False) else (V_PRED,)
