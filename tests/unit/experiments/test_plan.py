"""The plan of a sweep: a pure function, every cell once, chains in order."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from consilience.errors import InvalidSpec, UnknownName
from consilience.experiments import PROTOCOLS, Block, plan
from consilience.experiments.plan import grid, replica_limit

# Values in no order; local_steps is structural.
VALUES: dict[str, list[Any]] = {
    "coupling": [3.0, 0.0, 10.0, 1.0, 0.3],
    "learning_rate": [0.1, 0.01, 0.2],
    "local_steps": [2, 1],
    "seed": [5, 0, 7],
}


@st.composite
def overs(draw: Callable[[Any], Any]) -> dict[str, list[Any]]:
    """Sweeps over the coupling and some other parameters, in any order."""
    names = draw(st.permutations(["coupling", *draw(st.sets(st.sampled_from([n for n in VALUES if n != "coupling"])))]))
    return {name: VALUES[name][: draw(st.integers(1, len(VALUES[name])))] for name in names}


PLANS = st.tuples(overs(), st.sampled_from(PROTOCOLS), st.integers(1, 6))
EXAMPLES = hypothesis.settings(deadline=None, max_examples=60)


@EXAMPLES
@hypothesis.given(PLANS)
def test_every_cell_exactly_once_within_the_limit(case: Any) -> None:
    over, protocol, limit = case
    blocks = plan(over, structural=["local_steps"], protocol=protocol, limit=limit)
    assert [block.index for block in blocks] == list(range(len(blocks)))
    assert sorted(cell for block in blocks for cell in block.cells) == list(range(len(grid(over))))
    assert all(1 <= len(block.cells) <= limit for block in blocks)
    assert blocks == plan({name: list(v) for name, v in over.items()}, structural=("local_steps",), protocol=protocol,
                          limit=limit)  # fmt: skip


@EXAMPLES
@hypothesis.given(PLANS)
def test_structural_parameters_are_not_mixed(case: Any) -> None:
    over, protocol, limit = case
    cells = grid(over)
    for block in plan(over, structural=["local_steps"], protocol=protocol, limit=limit):
        assert len({cells[cell].get("local_steps") for cell in block.cells}) == 1


@EXAMPLES
@hypothesis.given(overs(), st.booleans(), st.integers(1, 6), st.sampled_from(["coupling", "local_steps"]))
def test_chains_follow_the_parameter_and_change_nothing_else(
    over: dict[str, list[Any]], up: bool, limit: int, along: str
) -> None:
    hypothesis.assume(along in over)
    cells = grid(over)
    protocol = "adiabatic_up" if up else "adiabatic_down"
    blocks = plan(over, structural=["local_steps"], protocol=protocol, along=along, limit=limit)
    starts = [block for block in blocks if block.follows is None]
    first = min(over[along]) if up else max(over[along])
    assert all(cells[cell][along] == first for block in starts for cell in block.cells)
    steps = dict(zip(sorted(over[along], reverse=not up), sorted(over[along], reverse=not up)[1:], strict=False))
    for block in blocks:
        assert len({cells[cell][along] for cell in block.cells}) == 1
        if block.follows is not None:
            assert block.follows < block.index
            before = blocks[block.follows]
            assert len(before.cells) == len(block.cells)
            for old, new in zip(before.cells, block.cells, strict=True):
                assert cells[new] == {**cells[old], along: steps[cells[old][along]]}
    followed = Counter(block.follows for block in blocks if block.follows is not None)
    assert set(followed.values()) <= {1}  # chains do not fork
    assert len(blocks) == len(starts) * len(over[along])


def test_many_couplings_share_their_seed_and_few_do_not() -> None:
    couplings, seeds = [0.0, 1.0, 2.0, 3.0], [0, 1]
    assert [block.cells for block in plan({"seed": seeds, "coupling": couplings})] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert [block.cells for block in plan({"seed": seeds, "coupling": couplings[:3]})] == [(0, 1, 2, 3, 4, 5)]
    assert [block.cells for block in plan({"coupling": couplings})] == [(0, 1, 2, 3)]


def test_pieces_are_of_nearly_equal_sizes() -> None:
    sizes = [len(block.cells) for block in plan({"coupling": list(range(17))}, limit=16)]
    assert sizes == [9, 8]
    assert [block.name for block in plan({"coupling": list(range(17))}, limit=16)] == ["block-0000", "block-0001"]


def test_memory_limits_the_replicas_that_run_together() -> None:
    assert replica_limit(10, 10_000, 4) == 8
    six_copies = 6 * 100 * 1_000_000 * 4
    assert replica_limit(100, 1_000_000, 4) == 3 * 2**30 // six_copies
    assert replica_limit(10**6, 10**9, 8) == 1


def test_mistakes_are_refused() -> None:
    with pytest.raises(UnknownName, match=r"'quinch' is not a protocol. Did you mean 'quench'"):
        plan({"coupling": [0.0]}, protocol="quinch")
    with pytest.raises(UnknownName, match=r"'couplin' is not a parameter of this sweep.*Did you mean 'coupling'"):
        plan({"coupling": [0.0]}, protocol="adiabatic_up", along="couplin")
    with pytest.raises(InvalidSpec, match="realizations are independent"):
        plan({"coupling": [0.0], "seed": [0]}, protocol="adiabatic_up", along="seed")


def test_a_grid_runs_through_the_last_dimension_fastest() -> None:
    assert grid({"a": [2, 1], "b": ["x", "y"]}) == [
        {"a": 2, "b": "x"}, {"a": 2, "b": "y"}, {"a": 1, "b": "x"}, {"a": 1, "b": "y"},
    ]  # fmt: skip
    assert Block(3, (0,)).follows is None
