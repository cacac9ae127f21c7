"""The plan of a sweep: which replicas run side by side, and in which order.

A plan is a pure function of the sweep's spec. Its blocks are the unit of vectorisation, storage, checkpoints and retry,
and since XLA's sums depend on array shapes, equal blocks are what makes equal bits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilience.errors import InvalidSpec, UnknownName

PROTOCOLS = ("quench", "adiabatic_up", "adiabatic_down")

# Side by side, replicas share their mini-batches and make one large matrix product. Beyond eight that gains nothing
# more, while their parameters leave the processor's cache, and fewer blocks are left to share out among processors.
_MAX_REPLICAS = 8
_MAX_BYTES = 3 * 2**30
# Fewer hyper-parameter values than this do not fill a matrix product; then seeds are put side by side instead.
_FEW = 4


@dataclass(frozen=True)
class Block:
    """Replicas that run side by side.

    Attributes:
        index: position in the plan.
        cells: positions in the sweep's grid (row-major), one per replica.
        follows: index of the block whose final parameters this one starts from; `None` for a fresh start.
    """

    index: int
    cells: tuple[int, ...]
    follows: int | None = None

    @property
    def name(self) -> str:
        """The block's name in a store."""
        return f"block-{self.index:04d}"


def grid(over: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All combinations of values, the last dimension running fastest.

    Example:
        >>> grid({"coupling": [0.0, 1.0], "seed": [7]})
        [{'coupling': 0.0, 'seed': 7}, {'coupling': 1.0, 'seed': 7}]
    """
    return [dict(zip(over, values, strict=True)) for values in itertools.product(*over.values())]


def replica_limit(num_agents: int, num_parameters: int, itemsize: int) -> int:
    """How many replicas fit side by side: at most 8, fewer if parameters, gradients and messages take over 3 GB.

    Example:
        >>> replica_limit(10, 15_910, 4), replica_limit(1000, 1_000_000, 4)
        (8, 1)
    """
    # State, gradient, mixed and coupled messages, the next state, and one to spare.
    per_replica = 6 * num_agents * num_parameters * itemsize
    return int(np.clip(_MAX_BYTES // max(per_replica, 1), 1, _MAX_REPLICAS))


def plan(
    over: Mapping[str, Sequence[Any]],
    *,
    structural: Sequence[str] = (),
    protocol: str = "quench",
    along: str = "coupling",
    limit: int = _MAX_REPLICAS,
) -> list[Block]:
    """Cut the grid of a sweep into blocks.

    In a quench, replicas of a block share the seed (and so the mini-batches) if there are enough of them, and the
    values of all structural hyper-parameters. In an adiabatic sweep, a block holds one value of the coupling for all
    seeds, and follows the block of the value before.

    Args:
        over: name → values, as in `sweep`.
        structural: names whose values change the compiled program and cannot be stacked.
        protocol: "quench", "adiabatic_up" or "adiabatic_down".
        along: the parameter that an adiabatic sweep follows.
        limit: most replicas per block.

    Example:
        >>> [block.cells for block in plan({"coupling": [0.0, 1.0, 2.0, 3.0], "seed": [0, 1]})]
        [(0, 2, 4, 6), (1, 3, 5, 7)]
        >>> [(block.cells, block.follows) for block in plan({"coupling": [0.0, 1.0]}, protocol="adiabatic_down")]
        [((1,), None), ((0,), 0)]
    """
    if protocol not in PROTOCOLS:
        raise UnknownName.among("protocol", protocol, PROTOCOLS)
    cells = grid(over)
    if protocol == "quench":
        return _quench(over, cells, structural, limit)
    return _adiabatic(over, cells, structural, limit, along, descending=protocol == "adiabatic_down")


def _groups(cells: list[dict[str, Any]], names: Sequence[str]) -> list[list[int]]:
    """Positions of cells that agree in all `names`, in order of first appearance."""
    groups: dict[str, list[int]] = {}
    for position, cell in enumerate(cells):
        groups.setdefault(repr([cell[name] for name in names]), []).append(position)
    return list(groups.values())


def _pieces(members: list[int], limit: int) -> list[tuple[int, ...]]:
    """As few pieces of at most `limit` as possible, of nearly equal sizes."""
    parts = np.array_split(np.asarray(members), math.ceil(len(members) / limit))
    return [tuple(int(member) for member in part) for part in parts]


def _quench(
    over: Mapping[str, Sequence[Any]], cells: list[dict[str, Any]], structural: Sequence[str], limit: int
) -> list[Block]:
    together = [name for name in over if name in structural]
    stacked = math.prod(len(values) for name, values in over.items() if name != "seed" and name not in structural)
    if "seed" in over and stacked >= _FEW:
        together.append("seed")
    pieces = [piece for members in _groups(cells, together) for piece in _pieces(members, limit)]
    return [Block(index, piece) for index, piece in enumerate(pieces)]


def _adiabatic(
    over: Mapping[str, Sequence[Any]],
    cells: list[dict[str, Any]],
    structural: Sequence[str],
    limit: int,
    along: str,
    *,
    descending: bool,
) -> list[Block]:
    if along not in over:
        raise UnknownName.among("parameter of this sweep to follow adiabatically", along, over)
    if along == "seed":
        raise InvalidSpec(
            "along='seed': realizations are independent, so none can start where another one ended. Write "
            "along='coupling', or another parameter of the algorithm."
        )
    blocks: list[Block] = []
    fixed = [name for name in over if name in structural and name != along]
    chains = _groups([{name: cell[name] for name in cell} for cell in cells], fixed)
    for chain in chains:
        others = [name for name in over if name != along]
        lanes = [sorted(lane, key=lambda position: cells[position][along], reverse=descending)
                 for lane in _relative(chain, cells, others)]  # fmt: skip
        for piece in _pieces(list(range(len(lanes))), limit):
            previous: int | None = None
            for step in range(len(over[along])):
                block = Block(len(blocks), tuple(lanes[lane][step] for lane in piece), previous)
                blocks.append(block)
                previous = block.index
    return blocks


def _relative(chain: list[int], cells: list[dict[str, Any]], names: Sequence[str]) -> list[list[int]]:
    return [[chain[member] for member in group] for group in _groups([cells[position] for position in chain], names)]
