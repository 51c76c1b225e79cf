"""Counts what an epoch of a mixture has of each source, where their indexes are here."""

from extensions.data import sources
from extensions.data.index import Index, layout
from extensions.data.mixed_order import counts
from extensions.data.sources import Source
from extensions.launch.stages import Asked


def found(asked: Asked) -> list[tuple[Source, int, int]]:
    """Return (source, its images, samples an epoch at one image a batch); nothing where an index is not here.

    UserError for a mixture that a launch would refuse.
    """
    metadata = asked.flags.get("in_json")
    if not sources.is_mixture(metadata) or not metadata:
        return []
    named = sources.read(metadata, asked.flags.get("train_data_dir"))
    indexes = [
        each.metadata if each.metadata.suffix == ".arrow" else layout.index_of(each.metadata) for each in named
    ]
    if not all(index.is_file() for index in indexes):
        return []
    images = [len(Index(index)) for index in indexes]
    return list(zip(named, images, counts(named, images), strict=True))


def samples(asked: Asked) -> int | None:
    """Return the samples of an epoch; None where the data are no mixture, or nobody knows."""
    return sum(count for *_, count in found(asked)) or None


def rows(asked: Asked) -> list[list[str]]:
    """Return the rows of a table of the sources."""
    return [
        [source.name, f"{images:,}", f"{count:,}", f"{source.first_step:,} to {steps_of(source)}"]
        for source, images, count in found(asked)
    ]


def steps_of(source: Source) -> str:
    """Return the last optimizer step that a source takes part in, as a person reads it."""
    return "the end" if source.last_step is None else f"{source.last_step:,}"
