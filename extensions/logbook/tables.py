"""Prints tables: drawn on a terminal that is wide enough, else plain aligned text. Nothing is cut or wrapped."""

import shutil
import sys


def show(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table on stdout."""
    lines = plain([columns, *rows])
    fits = max(map(len, lines)) <= shutil.get_terminal_size().columns
    if sys.stdout.isatty() and fits:
        draw(columns, rows)
    else:
        print("\n".join(lines))


def plain(rows: list[list[str]]) -> list[str]:
    """Return rows as lines, each column as wide as its widest text."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return ["  ".join(cells).rstrip() for cells in padded]


def draw(columns: list[str], rows: list[list[str]]) -> None:
    """Draw the same with a bold head; rich is loaded only here, for it is slower than all the rest."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for row in rows:
        # Text, for a value in square brackets is not markup.
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
