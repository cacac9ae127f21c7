"""Rounds to a target of every agent, with and without the others, and why they take so long."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from consilience.axes import AGENT
from consilience.errors import InvalidSpec, UnknownName
from consilience.experiments.deployment import Deployment
from consilience.graphs import Graph, MixingMatrix, from_matrix, uniform
from consilience.theory.peer_to_peer.arguments import check_count, check_rate
from consilience.theory.peer_to_peer.fixed_point import fixed_point
from consilience.theory.peer_to_peer.interpolation import interpolation
from consilience.theory.peer_to_peer.quantities import losses
from consilience.theory.peer_to_peer.rounds import initial_state
from consilience.theory.peer_to_peer.rounds_to_target import QUANTITIES, check_target, rounds_to_target
from consilience.theory.peer_to_peer.spectra.learning_rates import largest_learning_rate
from consilience.theory.peer_to_peer.spectra.modes import modes
from consilience.theory.peer_to_peer.spectra.stability import Stability, stability

DEFAULT_SHARE = 0.5
"""Of the largest stable learning rate, and of the initial loss, where nothing is asked for."""
PATIENCE_ALONE, LEAST_ROUNDS_ALONE = 10, 1000
"""Agents that learn alone are waited for ten times as long as those that learn together, and a thousand rounds."""


ALL_MODES = 10_000
LARGEST_SOLVED = 1000
"""Agents × rows up to which the end of learning is solved for where it is not known in closed form: seconds."""


@dataclass(frozen=True, eq=False)
class RoundsPrediction:
    """What the theory says of a deployment.

    Attributes:
        learning_rate: η.
        mixing: W.
        target: the loss to be reached.
        quantity: "test_loss", "train_loss" or "objective".
        agents: over agents, `initial_loss`, and, each also with "_alone" behind for W = I: `rounds` (NaN if the target
            was not reached), `last_loss` when the computation ended, `lowest_loss` until then, `limit` as rounds go to
            infinity (NaN if there is none), `rises_again`; `attrs` hold `outcome` and `rounds_computed` of both.
        rounds_of_full_averaging: of the slowest agent if W were 11ᵀ/N, at the same learning rate; NaN if it would not
            arrive, either.
        stability: of the rounds.
        modes: all that carry error, as `peer_to_peer.modes` gives them; None if rounds are not stable.
    """

    learning_rate: float
    mixing: MixingMatrix
    target: float
    quantity: str
    agents: xr.Dataset
    rounds_of_full_averaging: float
    stability: Stability
    modes: xr.Dataset | None

    @property
    def largest_learning_rate(self) -> float:
        """Below which rounds converge on this graph."""
        return self.stability.largest_learning_rate

    @property
    def slowest(self) -> int | None:
        """The agent that arrives last; of those that never do, the one whose loss was highest in the end."""
        found = self.agents
        missing = np.isnan(found.rounds.values)
        if missing.any():
            return int(np.argmax(np.where(missing, np.nan_to_num(found.last_loss.values, nan=math.inf), -1.0)))
        return int(np.argmax(found.rounds.values))


def rate_limit(deployment: Deployment, graph: Graph | None = None) -> float:
    """The largest stable learning rate on a graph, that of the deployment by default."""
    d = deployment
    mixing = d.mixing(1.0, graph) if d.coupling is None else lambda rate: d.mixing(rate, graph)
    return largest_learning_rate(d.coordinates, mixing, algorithm=d.algorithm, weight_decay=d.weight_decay).value


def check_request(learning_rate: Any, target: Any, quantity: Any, max_rounds: Any) -> None:
    """The arguments of `predict_rounds`, before the network is linearised for nothing."""
    if learning_rate is not None:
        check_rate("learning_rate", learning_rate, positive=True)
    if target is not None:
        check_target(target)
    if quantity not in QUANTITIES:
        raise UnknownName.among("loss with a target", quantity, QUANTITIES)
    check_count("max_rounds", max_rounds)


def initial_loss(deployment: Deployment, quantity: str) -> np.ndarray:
    """Of every agent, in round 0."""
    return losses(deployment.linearization, initial_state(deployment.linearization))[quantity][0]


def predict_rounds(
    deployment: Deployment,
    *,
    learning_rate: float | None = None,
    target: float | None = None,
    quantity: str = "test_loss",
    max_rounds: int = 10_000,
) -> RoundsPrediction:
    """Rounds to the target, stability and slow modes of a deployment.

    Args:
        deployment: who learns what from whom.
        learning_rate: η; half of the largest stable one by default.
        target: loss to be reached; half of the initial loss (mean over agents) by default.
        quantity: "test_loss", "train_loss" or "objective".
        max_rounds: after which agents are given up.

    Raises:
        InvalidSpec: for values that cannot be; if there is no stable learning rate to choose by default.

    Example:
        >>> from consilience.experiments.deployment import deploy
        >>> parts = {"partition": {"name": "by_class", "num_agents": 5}, "graph": {"family": "cycle"}}
        >>> found = predict_rounds(deploy(parts, num_samples=8, width=None), target=0.35)
        >>> found.agents.rounds.notnull().all().item(), found.agents.rounds_alone.notnull().any().item()
        (True, False)
    """
    d, lin = deployment, deployment.linearization
    check_request(learning_rate, target, quantity, max_rounds)
    rate = _default_rate(rate_limit(d)) if learning_rate is None else learning_rate
    start = initial_loss(d, quantity)
    goal = DEFAULT_SHARE * float(start.mean()) if target is None else target
    mixing, alone = d.mixing(rate), from_matrix(np.eye(lin.num_agents), "alone")
    common = {"target": goal, "quantity": quantity, "algorithm": d.algorithm, "weight_decay": d.weight_decay}
    together = rounds_to_target(
        lin, [mixing, uniform(lin.num_agents)], learning_rates=rate, max_rounds=max_rounds, **common
    )
    slowest, ideal = together.rounds.max("agent", skipna=False).values
    patience = max_rounds if math.isnan(slowest) else max(LEAST_ROUNDS_ALONE, PATIENCE_ALONE * int(slowest))
    by_themselves = rounds_to_target(lin, alone, learning_rates=rate, max_rounds=min(max_rounds, patience), **common)
    found = _of_agents(together, "").merge(_of_agents(by_themselves, "_alone"), combine_attrs="no_conflicts")
    checked = stability(
        lin,
        mixing,
        algorithm=d.algorithm,
        learning_rate=rate,
        weight_decay=d.weight_decay,
        mixing_of=None if d.coupling is None else d.mixing,
    )
    is_stable = rate < checked.largest_learning_rate
    nowhere = np.full(lin.num_agents, np.nan)
    found = found.assign(
        initial_loss=(AGENT, start),
        limit=(AGENT, _limit(d, mixing, rate, quantity) if is_stable else nowhere),
        limit_alone=(AGENT, _limit(d, alone, rate, quantity) if is_stable else nowhere),
    )
    slow = None
    if is_stable:
        slow = modes(
            lin, mixing, algorithm=d.algorithm, learning_rate=rate, weight_decay=d.weight_decay, num_modes=ALL_MODES
        )
    return RoundsPrediction(rate, mixing, goal, quantity, found, float(ideal), checked, slow)


def _default_rate(limit: float) -> float:
    if limit == 0 or math.isinf(limit):
        raise InvalidSpec(
            f"The largest stable learning rate is {limit:g} here, of which half is of no use. Choose the learning rate "
            "yourself, 0.1 say."
        )
    return DEFAULT_SHARE * limit


def _of_agents(found: xr.Dataset, suffix: str) -> xr.Dataset:
    """The first candidate."""
    one = found.isel(candidate=0, drop=True)
    names = ["rounds", "last_loss", "lowest_loss", "rises_again"]
    renamed = one[names].rename({name: name + suffix for name in names}).reset_coords(drop=True)
    return renamed.drop_attrs(deep=False).assign_attrs(
        {f"outcome{suffix}": one.outcome.item(), f"rounds_computed{suffix}": one.rounds_computed.item()}
    )


def _limit(deployment: Deployment, mixing: MixingMatrix, learning_rate: float, quantity: str) -> np.ndarray:
    """Losses as rounds go to infinity, at a stable rate; NaN where the equations for them would take minutes."""
    d, lin = deployment, deployment.linearization
    ends = interpolation(lin, mixing) if d.weight_decay == 0 else None
    if ends is not None:
        return ends[quantity]
    if lin.num_agents * len(lin.gram) <= LARGEST_SOLVED:
        found = fixed_point(
            lin, mixing, algorithm=d.algorithm, learning_rate=learning_rate, weight_decay=d.weight_decay
        )
        return found[quantity].values
    return np.full(lin.num_agents, np.nan)
