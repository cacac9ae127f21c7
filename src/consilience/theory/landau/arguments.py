"""Checks of what the functions of this package are given: a `System`, or an error that says what to write instead."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.graphs import Graph
from consilience.graphs.arguments import whole_number

if TYPE_CHECKING:
    from consilience.theory.landau.dynamics import Triadic

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class System:
    """N coupled order parameters, in any number of copies: arguments that fit each other, broadcast.

    Attributes:
        delta: δ_i, shape (…, agents).
        second_moment: s_i, shape (…, agents).
        initial: m_i, shape (…, agents).
        depth: D.
        coupling: σ̂, shape (…).
        weight_decay: γ̂, shape (…).
        graph: who listens to whom; the complete graph if None.
    """

    delta: Array
    second_moment: Array
    initial: Array
    depth: int
    coupling: Array
    weight_decay: Array
    graph: Graph | None

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape (…) in front of the agents."""
        return self.delta.shape[:-1]

    @property
    def num_agents(self) -> int:
        """N."""
        return self.delta.shape[-1]

    @property
    def uniform_weight(self) -> float | None:
        """q if all agents listen to all others with this weight, else None (also for a graph of a single agent)."""
        return 1.0 if self.graph is None else self.graph.uniform_weight

    @cached_property
    def adjacency(self) -> Array:
        """The weights q_ij, shape (agents, agents)."""
        n = self.num_agents
        return np.ones((n, n)) - np.eye(n) if self.graph is None else self.graph.adjacency


def check_depth(depth: Any) -> int:
    """`depth` as an int ≥ 0."""
    if isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < 0:
        raise InvalidSpec(
            f"depth={depth!r}: the depth D counts hidden layers, and enters as the power m^D. Write a whole number "
            "from 0, depth=1 for one hidden layer."
        )
    return int(depth)


def shown(value: Any) -> str:
    """`value` in an error message: on one line, however large."""
    return textwrap.shorten(repr(value), width=80, placeholder=" ...")


def numbers(name: str, value: Any, *, meaning: str, least: float = -math.inf) -> Array:
    """`value` as an array of finite numbers, none below `least`."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise InvalidSpec(f"{name}={shown(value)}: {meaning} Write a number or an array of numbers.")
    array = np.asarray(array, dtype=np.float64)
    wrong = ~np.isfinite(array) | (array < least)
    if wrong.any():
        where = [int(i) for i in np.argwhere(wrong)[0]]
        place = f" at {where}" if where else ""
        bound = "finite numbers" if least == -math.inf else f"finite numbers from {least:g} up"
        raise InvalidSpec(f"{name} holds {array[tuple(where)]}{place}: {meaning} Write {bound}.")
    return array


def check_times(times: Any) -> Array:
    """`times` as a one-dimensional array of increasing, finite numbers."""
    array = numbers("times", times, meaning="these are the moments at which m is wanted.")
    if array.ndim != 1 or array.size == 0:
        raise InvalidSpec(
            f"times has shape {array.shape}; it lists the moments at which m is wanted, the first being that of the "
            "initial condition. Write times=np.linspace(0, 10, 101), say."
        )
    if (np.diff(array) <= 0).any():
        k = int(np.argmax(np.diff(array) <= 0))
        raise InvalidSpec(
            f"times[{k + 1}]={array[k + 1]:g} does not come after times[{k}]={array[k]:g}: the dynamics runs forward "
            "in time. Write increasing times, times=np.sort(np.unique(times))."
        )
    return array


def check_triadic(triadic: Any) -> None:
    """Refuse what is no coupling of three agents; None is none."""
    from consilience.theory.landau.dynamics import Triadic  # which imports this module

    if triadic is None:
        return
    if not isinstance(triadic, Triadic):
        raise InvalidSpec(
            f"triadic={shown(triadic)} is not a coupling of three agents. Write "
            "triadic=landau.Triadic(coupling=1.0, selectivity=1.0), or None for none."
        )
    for name, meaning in (
        ("coupling", "pairs of agents attract with strength τ̂."),
        ("selectivity", "λ weighs pairs by their agreement."),
    ):
        value = numbers(f"triadic.{name}", getattr(triadic, name), least=0, meaning=meaning)
        if value.ndim:
            raise InvalidSpec(
                f"triadic.{name} has shape {value.shape}, and it is one number for the whole batch. Integrate one "
                "strength at a time."
            )


def check_graph(graph: Any, num_agents: int) -> None:
    """Refuse what is no graph of `num_agents` agents; None is the complete graph."""
    if graph is None:
        return
    if not isinstance(graph, Graph):
        raise InvalidSpec(
            f"graph={shown(graph)} is not a graph. Write graph=cs.graphs.cycle({num_agents}), or graph=None for the "
            "complete graph; an array of weights is one by cs.graphs.from_adjacency(q)."
        )
    if graph.num_agents != num_agents:
        raise IncompatiblePair(
            f"{graph.name} has {graph.num_agents} agents, but delta has {num_agents} on its last axis; every agent has "
            f"one δ. Use a graph of {num_agents} agents, or graph=None for the complete graph."
        )


def check_system(
    delta: Any,
    initial: Any,
    *,
    depth: Any,
    coupling: Any,
    weight_decay: Any,
    graph: Graph | None = None,
    second_moment: Any = 1.0,
    triadic: Triadic | None = None,
    undirected: str = "",
) -> System:
    """The system that the arguments describe; `undirected` names what would not exist on a directed graph."""
    depth = check_depth(depth)
    delta = numbers("delta", delta, meaning="δ_i = ⟨x̂ŷ⟩ is an average over agent i's data.")
    initial = numbers("initial", initial, meaning="this is the order parameter m_i of each agent.")
    second_moment = numbers("second_moment", second_moment, least=0, meaning="s_i = ⟨x̂²⟩ is a mean square.")
    coupling = numbers("coupling", coupling, least=0, meaning="agents attract each other with strength σ̂.")
    weight_decay = numbers("weight_decay", weight_decay, least=0, meaning="γ̂ draws parameters to zero.")
    check_triadic(triadic)
    if delta.ndim == 0:
        raise InvalidSpec(
            f"delta={delta.item():g} has no axis of agents. Write delta=[{delta.item():g}] for a single agent."
        )
    if delta.shape[-1] == 0:
        raise InvalidSpec(f"delta has shape {delta.shape}: no agents. Give one δ per agent, one at least.")
    try:
        per_agent = np.broadcast_shapes(delta.shape, initial.shape, second_moment.shape)
        batch = np.broadcast_shapes(per_agent[:-1], coupling.shape, weight_decay.shape)
    except ValueError:
        raise IncompatiblePair(
            f"delta {delta.shape}, initial {initial.shape} and second_moment {second_moment.shape} with coupling "
            f"{coupling.shape} and weight_decay {weight_decay.shape} do not broadcast: the first three have agents on "
            "their last axis, the last two have no axis of agents. Write coupling=couplings[:, None] with delta of "
            "shape (realizations, agents), say."
        ) from None
    if per_agent[-1] != delta.shape[-1]:
        raise IncompatiblePair(
            f"delta has {delta.shape[-1]} agents on its last axis, but initial {initial.shape} and second_moment "
            f"{second_moment.shape} have {per_agent[-1]}. Give one δ per agent."
        )
    shape = (*batch, per_agent[-1])
    check_graph(graph, shape[-1])
    if undirected and graph is not None and graph.directed:
        raise IncompatiblePair(
            f"{graph.name} is directed, and {undirected} exists only where agents pull each other equally. Use an "
            "undirected graph, cs.graphs.from_adjacency(np.maximum(q, q.T))."
        )
    return System(
        delta=np.broadcast_to(delta, shape),
        second_moment=np.broadcast_to(second_moment, shape),
        initial=np.broadcast_to(initial, shape),
        depth=depth,
        coupling=np.broadcast_to(coupling, batch),
        weight_decay=np.broadcast_to(weight_decay, batch),
        graph=graph,
    )


def check_positive(name: str, value: Any, *, say: float = 1e-6) -> float:
    """`value` as a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < math.inf:
        raise InvalidSpec(f"{name}={shown(value)}: this has to be a positive number. Write {name}={say:g}, say.")
    return float(value)


def check_count(name: str, value: Any, *, reason: str) -> int:
    """`value` as a whole number from one up."""
    return whole_number(name, value, at_least=1, reason=reason)


def as_callable(value: Any) -> Callable[[Any], Any] | None:
    """`value` if it is a function (of time), else None."""
    return value if callable(value) else None
