"""Lays out which run goes on from which: a row a run, and one lane further in for each branch.

An only child stays in its parent's lane: a chain of thirteen segments is as narrow as a telephone. What is below a
run lies in its lane or further in, so that no two lines cross.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """One run in the graph. row, lane: its place, from 0. parent: its parent's place, None for a first one."""

    run: str
    row: int
    lane: int
    parent: tuple[int, int] | None = None


def graph(parents: Mapping[str, str | None]) -> list[Node]:
    """Return the runs that have a parent or a child, from the top. parents: {run: its parent, or None}.

    A parent that is not among them is a first one; a circle, which no run can be in, is opened where it is met.
    """
    children: dict[str, list[str]] = {}
    for run, parent in parents.items():
        if parent and parent != run:
            children.setdefault(parent, []).append(run)
    known = dict.fromkeys([*children, *parents])
    roots = [run for run in known if run in children and not parents.get(run)]
    nodes: dict[str, Node] = {}
    for root in [*roots, *(run for run in known if run in children)]:
        waiting: list[tuple[str, Node | None, int]] = [(root, None, 0)]
        while waiting:
            run, above, lane = waiting.pop()
            if run not in nodes:
                nodes[run] = Node(run, len(nodes), lane, (above.row, above.lane) if above else None)
                below = children.get(run, [])
                further = lane + (len(below) > 1)
                waiting += [(child, nodes[run], further) for child in reversed(below)]
    return list(nodes.values())
