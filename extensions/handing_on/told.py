"""Says what a checkpoint is: what its U-Net predicts, and the title and description of the run that made it."""

from __future__ import annotations

from dataclasses import dataclass

from extensions.base.errors import UserError
from extensions.handing_on.found import AVERAGE, Found
from extensions.model import prediction
from extensions.model.checkpoint import FAMILIES, Header, shortened

TITLE, DESCRIPTION = "modelspec.title", "modelspec.description"
KEPT = ("modelspec.", "sdxl_trainer.")  # of a checkpoint's metadata: what tells of the model
STALE = ("modelspec.hash_sha256", "modelspec.thumbnail")  # of the file that it was
IMPLEMENTATION = "https://github.com/Stability-AI/generative-models"

FLOW_SHIFT = "sdxl_trainer.flow_shift"


@dataclass(frozen=True)
class Objective:
    """What a U-Net predicts (EPSILON, V or FLOW); whether its schedule ends at SNR 0; flow's shift in samples."""

    prediction: str
    zero_snr: bool
    flow_shift: float = 1.0

    def marks_in(self, header: Header) -> tuple[str, ...]:
        """Return the names of the empty tensors by which user interfaces know it: of SD2 those it had."""
        unmarked = header.family == "sd2" and not any(mark in header.shapes for mark in prediction.MARKS)
        if self.prediction != prediction.V or unmarked:
            return ()
        return prediction.MARKS[: 1 + self.zero_snr]

    def __str__(self) -> str:
        ending = ", zero terminal SNR" if self.zero_snr else ""
        return prediction.shown(self.prediction) + ending


def objective_of(found: Found) -> tuple[Objective, list[str]]:
    """Return what a checkpoint's U-Net predicts, as its file says, else as the record of its run; and notes.

    UserError where it is neither noise nor v nor flow, and for SD2 where neither says anything.
    """
    header, flags = found.header, found.flags
    said = prediction.marked(header)
    if said == prediction.FLOW:
        return flow_of(header)
    if said not in (None, prediction.V, prediction.EPSILON):
        raise UserError(
            f"{found.path} predicts {shortened(said)}, neither noise nor v nor flow; give a checkpoint of a run here"
        )
    if not said and not found.record and header.family == "sd2":
        raise UserError(
            f"{found.path} does not say whether it predicts noise or v, and SD2's models do either; "
            "give the RUN= that made it"
        )
    predicts = said or (prediction.V if "v_parameterization" in flags else prediction.EPSILON)
    if prediction.V_PRED in header.shapes:  # who writes that writes the other, too
        return Objective(predicts, prediction.ZERO_SNR in header.shapes), []
    if predicts == prediction.V and not found.record:
        note = f"note: nothing says whether {found.path} was trained to zero terminal SNR; it is taken for one that "
        return Objective(predicts, False), [f"{note}was not"]
    return Objective(predicts, "zero_terminal_snr" in flags), []


def flow_of(header: Header) -> tuple[Objective, list[str]]:
    """Return flow with the shift that its metadata say, and notes."""
    shift = header.metadata.get(FLOW_SHIFT, "1")
    try:
        return Objective(prediction.FLOW, False, float(shift)), []
    except ValueError:  # by resolution: 1 at 1024x1024, of which a scheduler's configuration knows nothing
        note = f"note: {header.path} shifts flow by {shortened(shift)}; the export says 1, that of 1024x1024 pixels"
        return Objective(prediction.FLOW, False), [note]


def metadata_of(found: Found, objective: Objective) -> dict[str, str]:
    """Return the metadata of an export: the checkpoint's own facts, with the run's title and description."""
    sdxl = found.header.family == "sdxl"
    v = objective.prediction == prediction.V
    of_sd2 = ("stable-diffusion-v2-768-v", "768x768") if v else ("stable-diffusion-v2-512", "512x512")
    architecture, resolution = ("stable-diffusion-xl-v1-base", "1024x1024") if sdxl else of_sd2
    usual = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture,
        "modelspec.implementation": IMPLEMENTATION,
        "modelspec.resolution": resolution,
    }
    own = {name: text for name, text in found.header.metadata.items() if name.startswith(KEPT) and name not in STALE}
    told = {TITLE: title_of(found), DESCRIPTION: description_of(found)}
    spec = {prediction.METADATA: objective.prediction}
    return {"format": "pt"} | usual | own | {name: text for name, text in told.items() if text} | spec


def title_of(found: Found) -> str:
    """Return --metadata_title where the run was given one; else the run and its optimizer step."""
    given = found.flags.get("metadata_title")
    average = f", weights averaged ({found.average})" if found.average else ""
    if isinstance(given, str):
        return given + average
    if not found.run:
        return found.header.metadata.get(TITLE, "") or found.path.stem
    step = "" if found.steps is None else f", optimizer step {found.steps:,}"
    return f"model_out_{found.run}{step}{average}"


def description_of(found: Found) -> str:
    """Return --metadata_description where the run was given one; else its line of the logbook."""
    given = found.flags.get("metadata_description")
    if isinstance(given, str):
        return given
    tiny = "a tiny run on stand-ins: " if found.record and found.record.profile == "tiny" else ""
    return f"{tiny}{found.words}" if found.words else found.header.metadata.get(DESCRIPTION, "")


def summary(found: Found, objective: Objective) -> str:
    """In one line, what is exported."""
    what = f"averaged weights {found.header.metadata[AVERAGE]}" if found.average else "weights"
    return f"{found.path}: {what} of {FAMILIES[found.header.family]}, predicts {objective}"
