"""How many rounds every agent needs until its loss is down at a target: many graphs and rates side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from consilience.axes import AGENT
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.graphs import MixingMatrix
from consilience.theory.peer_to_peer.arguments import (
    Floats,
    check_algorithm,
    check_count,
    check_mixing,
    check_rate,
)
from consilience.theory.peer_to_peer.arrivals import OUTCOMES, Arrivals, Goal, run, without_test
from consilience.theory.peer_to_peer.linearization import Linearization

__all__ = ["OUTCOMES", "QUANTITIES", "rounds_to_target"]

CANDIDATE = "candidate"
QUANTITIES = ("test_loss", "train_loss", "objective")
"""Losses that may have a target."""
_STATE_BYTES = 64e6
"""Candidates run side by side as long as their states take no more: beyond, memory traffic costs what sharing saves."""


def rounds_to_target(
    linearization: Linearization,
    mixings: Any,
    *,
    algorithm: str = "dgd",
    learning_rates: float | Sequence[float],
    target: float,
    quantity: str = "test_loss",
    max_rounds: int = 10_000,
    patience: float = math.inf,
    weight_decay: float = 0.0,
) -> xr.Dataset:
    """The first round after which the loss of each agent is at most `target`, for several candidates.

    Exact for the linearised network: candidates are run round by round, in kernel space. A candidate ends when all its
    agents have been at the target; when it diverges; when it has settled, that is, no loss that is still above moved by
    more than `SETTLED` of itself in the last half of the rounds, nor would arrive by `max_rounds` at twice that pace;
    after `max_rounds`; or when it is overtaken.

    Args:
        linearization: network and data.
        mixings: the mixing matrix of each candidate, or one matrix for all of them.
        algorithm: "dgd", "atc" or "cta".
        learning_rates: η of each candidate, or one for all.
        target: the loss to be reached, > 0.
        quantity: "test_loss", "train_loss" (of an agent on its own data), or "objective" (mean over all agents' data).
        max_rounds: after which a candidate is given up.
        patience: a candidate is overtaken, and given up, once it has taken this many times the rounds of the first to
            arrive.
        weight_decay: γ of γ‖θ‖².

    Returns:
        A data set over (candidate, agent): `rounds`, NaN where the target was not reached; `reached`; `last_loss`, when
        the candidate ended; `lowest_loss` until then; `rises_again`, whether a loss that was at the target is above it
        in the end. Over candidates: `rounds_computed` and `outcome`, one of `OUTCOMES`; coordinates `learning_rate` and
        `mixing`, the name of the matrix.

    Raises:
        InvalidSpec: for values that cannot be; for a test loss without test data.
        IncompatiblePair: for matrices of another size, or not as many of them as rates.
        UnknownName: for an algorithm or quantity that does not exist.

    Example:
        >>> import numpy as np
        >>> from consilience import graphs
        >>> from consilience.theory import peer_to_peer
        >>> x = np.random.default_rng(0).normal(size=(4, 5, 3))                     # 4 agents, 5 samples each
        >>> network = peer_to_peer.linearize(peer_to_peer.infinite_width_kernel(1), None, x, x[..., :1])
        >>> found = rounds_to_target(network, [graphs.metropolis(graphs.cycle(4)), np.eye(4)], learning_rates=0.1,
        ...                          target=0.02, quantity="objective", max_rounds=1000)
        >>> found.reached.all("agent").values.tolist()                              # together, and each alone
        [True, False]

    Source:
        Paper 003; MATH: kernel-space form.
    """
    lin = linearization
    check_algorithm(algorithm)
    candidates = _candidates(mixings, learning_rates, lin.num_agents)
    most, patient = check_count("max_rounds", max_rounds), _check_patience(patience)
    goal = Goal(check_target(target), _check_quantity(quantity, lin), most, patient)
    decay = check_rate("weight_decay", weight_decay)
    if goal.quantity != "test_loss":
        lin = without_test(lin)
    groups = []
    for group in _groups(lin, len(candidates.rates)):
        arrivals = Arrivals.begin(lin, goal, len(group))
        with np.errstate(over="ignore", invalid="ignore"):  # beyond the stability limit losses grow without bound
            run(lin, arrivals, candidates.weights[group], candidates.rates[group], algorithm, decay)
        groups.append(arrivals)
    return _dataset(groups, candidates, goal, algorithm=algorithm, weight_decay=decay)


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Mixing and rate of each candidate."""

    names: list[str]
    weights: Floats
    rates: Floats


def _groups(lin: Linearization, num_candidates: int) -> Iterator[np.ndarray]:
    """Candidates that run side by side."""
    per_candidate = 8 * lin.num_agents * lin.num_columns * (len(lin.gram) + lin.gram.shape[1])
    size = max(1, int(_STATE_BYTES // per_candidate))
    return (np.arange(start, min(start + size, num_candidates)) for start in range(0, num_candidates, size))


def _candidates(mixings: Any, learning_rates: Any, num_agents: int) -> _Candidates:
    is_array = isinstance(mixings, np.ndarray) and mixings.ndim == 2
    given: Any = [mixings] if is_array or isinstance(mixings, MixingMatrix) else mixings
    matrices = [check_mixing(one, num_agents) for one in given]
    rates = [check_rate("learning_rate", rate, positive=True) for rate in np.atleast_1d(learning_rates).tolist()]
    count = max(len(matrices), len(rates))
    if not matrices or not rates or {len(matrices), len(rates)} - {1, count}:
        raise IncompatiblePair(
            f"There are {len(matrices)} mixing matrices and {len(rates)} learning rates, but a candidate is one of "
            "each. Give as many rates as matrices, or a single one for all."
        )
    matrices, rates = matrices * (count // len(matrices)), rates * (count // len(rates))
    return _Candidates([one.name for one in matrices], np.stack([one.weights for one in matrices]), np.array(rates))


def check_target(target: Any) -> float:
    """`target` as a float > 0."""
    if check_rate("target", target) == 0:
        raise InvalidSpec("target=0: a loss comes down to zero only as rounds go to infinity. Write target=0.1, say.")
    return float(target)


def _check_patience(patience: Any) -> float:
    if patience == math.inf:
        return math.inf
    if check_rate("patience", patience) < 1:
        raise InvalidSpec(f"patience={patience!r}: nobody arrives before the first. Write patience=10, say.")
    return float(patience)


def _check_quantity(quantity: Any, lin: Linearization) -> str:
    if quantity not in QUANTITIES:
        raise UnknownName.among("loss with a target", quantity, QUANTITIES)
    if quantity == "test_loss" and not len(lin.test_targets):
        raise InvalidSpec(
            "quantity='test_loss', but the network was linearised without test data. Give linearize test_inputs and "
            "test_targets, or write quantity='objective'."
        )
    return quantity


def _dataset(groups: list[Arrivals], candidates: _Candidates, goal: Goal, **attrs: Any) -> xr.Dataset:
    first, last, lowest = (
        np.concatenate([getattr(one, name) for one in groups]) for name in ("first", "last", "lowest")
    )
    reached = ~np.isnan(first)
    by_agent = (CANDIDATE, AGENT)
    what = goal.quantity.replace("_", " ")
    return xr.Dataset(
        {
            "rounds": (by_agent, first, {"long_name": f"first round after which the {what} is at most the target"}),
            "reached": (by_agent, reached),
            "last_loss": (by_agent, last, {"long_name": f"{what} when the candidate ended"}),
            "lowest_loss": (by_agent, lowest, {"long_name": f"smallest {what} until then"}),
            "rises_again": (by_agent, reached & ~(last <= goal.target)),
            "rounds_computed": (CANDIDATE, np.concatenate([one.computed for one in groups])),
            "outcome": (CANDIDATE, [name for one in groups for name in one.outcome]),
        },
        {
            "learning_rate": (CANDIDATE, candidates.rates),
            "mixing": (CANDIDATE, candidates.names),
            AGENT: np.arange(first.shape[1]),
        },
        {"target": goal.target, "quantity": goal.quantity, "max_rounds": goal.max_rounds, **attrs},
    )
