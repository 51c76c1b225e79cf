"""Shows the samples and texts that an optimizer step of a run saw, or will see (make batch)."""

from argparse import Namespace

from rich.console import Console
from rich.table import Table

from extensions import manager
from extensions.base.errors import UserError, printable
from extensions.data.dealing import DEALT
from extensions.data.like_texts import LIKE
from extensions.data.loader import Places
from extensions.launch.stages import Asked
from extensions.resume import skipped, states
from extensions.resume.description import State
from extensions.trainer import arguments


def show(asked: Asked) -> int:
    """Print the global batch of optimizer step `asked.batch_step`, counted from 1, as the launch would train it."""
    dataset = opened(asked)
    accumulation = asked.settings.accumulation
    newest = next(iter(states.found(states.folder_of(asked.output))[0]), None)
    skips = skipped.of_state(newest, asked.output, dataset) if newest else {}
    orders = dataset.args.data_order, dataset.args.batch_texts
    places = Places(dataset, 0, asked.processes, accumulation, skips, ahead(asked, newest), *orders)
    require_within(asked, places)
    epoch, step = divmod(asked.batch_step - 1 - places.ahead, places.steps)
    places.begin(epoch, step)
    named = getattr(dataset.metadata, "source_of", None)
    columns = ("micro-step", "process", *(["source"] if named else []), "id", "size", "text")
    table = Table(*columns, title=title(asked, places, step))
    for micro_step, process, place in places.global_batch(step):
        for row in place.rows:
            sample, of_source = dataset.metadata[row], [named(row)] if named else []
            size, text = f"{sample.width}x{sample.height}", dataset.text_of(sample, place.epoch)
            table.add_row(str(micro_step + 1), str(process), *of_source, printable(sample.key), size, printable(text))
    Console().print(table, markup=False)
    return 0


def ahead(asked: Asked, newest: State | None) -> int:
    """Optimizer steps that count as done and have seen no data. newest: the run's own state, which says it best."""
    if newest:
        return newest.optimizer_steps - newest.facts.data_steps
    return 0 if "skip_until_initial_step" in asked.flags else asked.settings.start_step


def require_within(asked: Asked, places: Places) -> None:
    """Raise UserError for an optimizer step before the start of the run's data, or after its end."""
    if asked.batch_step <= places.ahead:
        raise UserError(
            f"the data of {asked.run} begin at optimizer step {places.ahead + 1:,}; give STEP= from there"
        )
    last = asked.settings.end(places.steps)
    if last is not None and asked.batch_step > last:
        raise UserError(f"{asked.run} ends at optimizer step {last:,}; give STEP= up to that")


def opened(asked: Asked):
    """Open the run's data set, its flags read as the reference trainer reads them: they are sd-scripts' own."""
    from extensions.data.dataset import LatentsDataset

    args = parsed(asked)
    plugins = manager.current()
    if (owner := manager.owner_of_flag("initial_step")) not in plugins.names:
        raise UserError(f"train/{asked.run}.sh does not list {owner}: its order is not known before it runs")
    plugins.hook.check_arguments(args=args)
    manager.set_args(args)
    return LatentsDataset(None, None, None, False)


def parsed(asked: Asked) -> Namespace:
    """Return the run's flags as the reference trainer parses them, its plugins loaded; none has checked them yet."""
    from extensions.reference import flags

    words = asked.flags.words()
    plugins = manager.install(arguments.listed_plugins(words))
    parser = flags.parser(asked.script)
    arguments.extend(parser, plugins)
    return parser.parse_known_args(words)[0]


def title(asked: Asked, places: Places, step: int) -> str:
    """Return where the step stands."""
    return (
        f"{asked.run}: optimizer step {asked.batch_step:,} is step {step + 1:,} of {places.steps:,} in epoch "
        f"{places.epoch + 1}{', dealt by cost' if places.data_order == DEALT else ''}"
        f"{', texts of like length in a batch' if places.batch_texts == LIKE else ''}"
    )
