"""Sweeps as data: checked, planned and identified, before anything runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from consilience.algorithms import Algorithm
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.experiments.identity import SEMANTICS, UnnamedPartError, describe, describe_fields, identity
from consilience.experiments.plan import Block, grid, plan, replica_limit
from consilience.randomness import check_seed
from consilience.simulation import Experiment, resolve_experiment
from consilience.simulation.experiment import whole


@dataclass(frozen=True)
class Sweep:
    """A resolved sweep: what `sweep` runs. Made by `resolve_sweep`.

    Attributes:
        experiment: the common part.
        over: name → values.
        protocol: "quench", "adiabatic_up" or "adiabatic_down".
        blocks: the plan.
        cells: the parameter values of each cell of the grid.
        title: for people; no part of the identity.
        source: what it was made from, `{"spec": tables}` for a spec or `{"recipe": name, ...}`; recorded with the run
            so that it can be made again, and no part of the identity. `None` for a sweep made in Python.
    """

    experiment: Experiment
    over: dict[str, list[Any]]
    protocol: str
    blocks: list[Block]
    cells: list[dict[str, Any]]
    seed: int
    title: str
    spec: dict[str, Any] | None = field(repr=False)
    not_stored_because: str = ""
    source: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def run_id(self) -> str | None:
        """SHA-256 of the spec; `None` if a part has no identity."""
        return None if self.spec is None else identity(self.spec)

    @property
    def replica_rounds(self) -> int:
        """Rounds × replicas of the whole sweep."""
        return len(self.cells) * self.experiment.num_rounds

    @property
    def bytes_of_a_block(self) -> int:
        """State, gradient, two messages, the next state and one to spare, of all its replicas; as the plan counts."""
        e, replicas = self.experiment, max(len(block.cells) for block in self.blocks)
        return 6 * replicas * e.num_agents * e.num_parameters * np.dtype(e.dtype).itemsize

    def algorithm(self, cell: int) -> Algorithm:
        """The algorithm of a cell, with the cell's hyper-parameters."""
        values = {name: value for name, value in self.cells[cell].items() if name != "seed"}
        return dataclasses.replace(self.experiment.algorithm, **values)

    def seed_of(self, cell: int) -> int:
        """The seed of a cell."""
        return int(self.cells[cell].get("seed", self.seed))


def _checked_over(algorithm: Algorithm, over: Mapping[str, Iterable[Any]]) -> dict[str, list[Any]]:
    if not over:
        raise InvalidSpec("over={} sweeps over nothing. Write over={'coupling': [0.0, 1.0, 10.0]}, or use simulate.")
    fields = {f.name for f in dataclasses.fields(algorithm)}
    checked = {}
    for name, values in over.items():
        if name != "seed" and name not in fields:
            raise UnknownName.among(f"parameter of {type(algorithm).__name__} to sweep over", name, [*fields, "seed"])
        listed = _listed(name, values)
        if name == "seed":
            checked[name] = [check_seed(value) for value in listed]
        elif _is_structural(algorithm, name):
            checked[name] = listed
        else:
            checked[name] = [_number(name, value) for value in listed]
        if not listed or any(value in checked[name][:position] for position, value in enumerate(checked[name])):
            raise InvalidSpec(f"over[{name!r}] = {listed}: a sweep needs at least one value and each of them once.")
    return checked


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidSpec(
            f"over[{name!r}] = {values!r}: a sweep goes over several values. Write a list, {name}=[{values!r}]."
        )
    return [value.item() if getattr(value, "ndim", None) == 0 else value for value in values]


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidSpec(
            f"over[{name!r}] holds {value!r}: values of {name} are numbers. Write {name}=[0.0, 1.0], say."
        )
    return float(value)


def _is_structural(algorithm: Algorithm, name: str) -> bool:
    return any(f.name == name and f.metadata.get("static", False) for f in dataclasses.fields(algorithm))


def resolve_sweep(
    algorithm: Algorithm,
    *,
    over: Mapping[str, Iterable[Any]],
    protocol: str = "quench",
    along: str = "coupling",
    seed: int = 0,
    title: str = "",
    max_replicas: int | None = None,
    **experiment: Any,
) -> Sweep:
    """Check a sweep and plan it, without running anything; the arguments are those of `sweep`.

    Example:
        >>> import consilience as cs
        >>> task = cs.tasks.load("digits")
        >>> planned = resolve_sweep(
        ...     cs.algorithms.DiffusiveCoupling(learning_rate=0.01), over={"coupling": range(20)},
        ...     model=cs.models.mlp(depth=0), task=task, shards=cs.tasks.by_class(task, num_agents=10),
        ...     graph=cs.graphs.complete(10), num_rounds=10)
        >>> [len(block.cells) for block in planned.blocks]
        [7, 7, 6]
    """
    checked = _checked_over(algorithm, over)
    check_seed(seed)
    cells = grid(checked)
    # All values at once pass through the algorithm's own checks, and through its warnings.
    swept = {name: [cell[name] for cell in cells] for name in checked if name != "seed"}
    structural = [name for name in swept if _is_structural(algorithm, name)]
    template = dataclasses.replace(
        algorithm,
        **{name: values[0] if name in structural else np.asarray(values) for name, values in swept.items()},
    )
    resolved = resolve_experiment(template, **experiment)
    first = dataclasses.replace(algorithm, **{name: values[0] for name, values in swept.items()})
    resolved = dataclasses.replace(resolved, algorithm=first)
    if protocol != "quench" and len(resolved.learners) < resolved.num_agents:
        raise IncompatiblePair(
            f"protocol={protocol!r} starts each coupling from the final parameters of the one before, and those of "
            "servers are not kept. Use protocol='quench', or a method without a server."
        )
    itemsize = np.dtype(resolved.dtype).itemsize
    limit = replica_limit(resolved.num_agents, resolved.num_parameters, itemsize)
    if max_replicas is not None:
        limit = whole("max_replicas", max_replicas, least=1, advice="Write max_replicas=4, say.")
    blocks = plan(checked, structural=structural, protocol=protocol, along=along, limit=limit)
    title = title or f"{type(algorithm).__name__} on {resolved.task.name}"
    spec, reason = None, ""
    try:
        spec = {
            "semantics": SEMANTICS,
            "experiment": _describe_experiment(resolved, set(swept)),
            "over": describe(checked),
            "seed": None if "seed" in checked else seed,
            "protocol": protocol,
            "blocks": [[list(block.cells), block.follows] for block in blocks],
            "cells": [block.name for block in blocks],
        }
    except UnnamedPartError as error:
        reason = str(error)
    return Sweep(resolved, checked, protocol, blocks, cells, seed, title, spec, reason)


def _describe_experiment(experiment: Experiment, swept: set[str]) -> dict[str, Any]:
    description = describe_fields(experiment)
    for name in swept:
        description["algorithm"][name] = "swept"
    return description
