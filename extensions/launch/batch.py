"""make batch: the samples and texts that an optimizer step of a run saw, or will see."""

from rich.console import Console
from rich.table import Table

from extensions import manager
from extensions.base.errors import UserError
from extensions.data.loader import Places
from extensions.launch.request import Request
from extensions.resume import skipped, states
from extensions.resume.states import State
from extensions.trainer import arguments


def show(request: Request) -> int:
    """Print the global batch of optimizer step `request.batch_step`, counted from 1, as the launch would train it."""
    dataset = opened(request)
    accumulation = request.flags.number("gradient_accumulation_steps", 1)
    newest = next(iter(states.found(states.folder_of(request.output))[0]), None)
    skips = skipped.of_state(newest, request.output, dataset) if newest else {}
    places = Places(dataset, 0, request.processes, accumulation, skips, ahead(request, newest))
    require_within(request, places)
    epoch, step = divmod(request.batch_step - 1 - places.ahead, places.steps)
    places.begin(epoch, step)
    table = Table("micro-step", "process", "id", "size", "text", title=title(request, places, step))
    for micro_step, process, place in places.global_batch(step):
        for sample in (dataset.metadata[row] for row in place.rows):
            size, text = f"{sample.width}x{sample.height}", dataset.text_of(sample, place.epoch)
            table.add_row(str(micro_step + 1), str(process), sample.key, size, text)
    Console().print(table, markup=False)
    return 0


def ahead(request: Request, newest: State | None) -> int:
    """Optimizer steps that count as done and have seen no data. newest: the run's own state, which says it best."""
    if newest:
        return newest.optimizer_steps - newest.facts["data_steps"]
    return 0 if "skip_until_initial_step" in request.flags else request.flags.number("initial_step", 0)


def require_within(request: Request, places: Places) -> None:
    """UserError for an optimizer step before the start of the run's data, or after its end."""
    if request.batch_step <= places.ahead:
        raise UserError(
            f"the data of {request.run} begin at optimizer step {places.ahead + 1:,}; give STEP= from there"
        )
    last = end_of(request, places.steps)
    if last is not None and request.batch_step > last:
        raise UserError(f"{request.run} ends at optimizer step {last:,}; give STEP= up to that")


def end_of(request: Request, steps_per_epoch: int) -> int | None:
    """The optimizer step at which the run ends, where its flags say one. Epochs beat steps, as in the trainers."""
    flags = request.flags
    whole = flags.number("max_train_epochs") * steps_per_epoch or flags.number("max_train_steps")
    return min(filter(None, (whole, flags.number("stop_at_step"))), default=None)


def opened(request: Request):
    """The run's data set, with its flags read as the reference trainer reads them: they are sd-scripts' own."""
    from extensions.data.dataset import LatentsDataset
    from extensions.reference import flags

    words = request.flags.words()
    plugins = manager.install(arguments.listed_plugins(words))
    parser = flags.parser(request.script)
    arguments.extend(parser, plugins)
    args, _ = parser.parse_known_args(words)
    if "resume_at_step" not in plugins.names:
        raise UserError(f"train/{request.run}.sh does not list resume_at_step: its order is not known before it runs")
    plugins.hook.check_arguments(args=args)
    manager.set_args(args)
    return LatentsDataset(None, None, None, False)


def title(request: Request, places: Places, step: int) -> str:
    """Where the step stands."""
    return (
        f"{request.run}: optimizer step {request.batch_step:,} is step {step + 1:,} of {places.steps:,} in epoch "
        f"{places.epoch + 1}"
    )
