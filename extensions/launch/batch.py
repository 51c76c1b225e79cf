"""make batch: the samples and texts that an optimizer step of a run saw, or will see."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from extensions import arguments, manager
from extensions.data.loader import Places
from extensions.errors import UserError
from extensions.launch.request import Request
from extensions.resume import skipped, states


def show(request: Request) -> int:
    """Print the global batch of optimizer step `request.batch_step`, counted from 1, as the launch would train it."""
    dataset = opened(request)
    accumulation = request.flags.number("gradient_accumulation_steps", 1)
    places = Places(dataset, 0, request.processes, accumulation, passed_over(request.output))
    epoch, step = divmod(request.batch_step - 1, places.steps)
    places.begin(epoch, step)
    table = Table("micro-step", "process", "id", "size", "text", title=title(request, places, step))
    for micro_step, process, place in places.global_batch(step):
        for sample in (dataset.metadata[row] for row in place.rows):
            size, text = f"{sample.width}x{sample.height}", dataset.text_of(sample, place.epoch)
            table.add_row(str(micro_step + 1), str(process), sample.key, size, text)
    Console().print(table, markup=False)
    return 0


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


def passed_over(output: Path) -> dict[int, int]:
    """What roll-backs of this run have left out."""
    newest = states.found(states.folder_of(output))[0]
    return skipped.of_state(newest[0], output) if newest else {}


def title(request: Request, places: Places, step: int) -> str:
    """Where the step stands."""
    return (
        f"{request.run}: optimizer step {request.batch_step:,} is step {step + 1:,} of {places.steps:,} in epoch "
        f"{places.epoch + 1}"
    )
