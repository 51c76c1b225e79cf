"""The graph of runs: whatever the parents, each run once, below its parent, in a lane that no other line crosses."""

from hypothesis import given
from hypothesis import strategies as st

from extensions.report.lineage import graph

NAMES = st.sampled_from("abcdefgh")


@given(st.dictionaries(NAMES, st.one_of(st.none(), NAMES), max_size=8))
def test_any_parents_make_a_graph(parents):
    nodes = graph(parents)
    assert len({node.run for node in nodes}) == len(nodes) and [node.row for node in nodes] == list(range(len(nodes)))
    pairs = {(child, parent) for child, parent in parents.items() if parent and parent != child}
    assert {node.run for node in nodes} == {run for pair in pairs for run in pair}
    places = {(node.row, node.lane): node.run for node in nodes}
    for node in nodes:
        if node.parent:
            assert (node.run, places[node.parent]) in pairs and node.parent[0] < node.row
            between = [other.lane for other in nodes[node.parent[0] + 1 : node.row]]
            assert all(lane >= node.lane for lane in between), "a line passes through no other run"


def test_a_chain_takes_one_lane_and_a_branch_another():
    chain = {f"s{i}": f"s{i - 1}" if i else None for i in range(13)}
    assert {node.lane for node in graph(chain)} == {0}
    branched = {node.run: node.lane for node in graph(chain | {"side": "s3"})}
    assert branched["s3"] == 0 and branched["s4"] == branched["side"] == 1


def test_runs_without_relations_are_not_in_it():
    assert graph({"a": None, "b": None}) == []
