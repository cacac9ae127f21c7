"""Graphs and learning rates side by side: rounds and messages to a target, and which of them to take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from consilience import graphs
from consilience.experiments.deployment import Deployment
from consilience.experiments.rounds_prediction import rate_limit
from consilience.graphs import Graph
from consilience.theory.peer_to_peer.rounds_to_target import CANDIDATE, rounds_to_target

FRACTIONS = (0.25, 0.5, 0.75)
"""Learning rates that are tried, in units of the largest stable one of each graph."""
ROBUST = 0.8
"""Rates above that share of the largest stable one are not recommended."""
LEAST_PATIENCE = 4.0


@dataclass(frozen=True)
class Recommendation:
    """Which candidates to take, by their indices, and why.

    Attributes:
        best: the smallest product of rounds and messages.
        fewest_rounds: of the slowest agent.
        fewest_messages: until the slowest agent has reached the target.
        sentence: the reason.
    """

    best: int
    fewest_rounds: int
    fewest_messages: int
    sentence: str


def candidate_graphs(own: Graph) -> list[Graph]:
    """Graphs that as many agents can form, `own` first, sparse to dense, no two the same.

    Example:
        >>> [graph.name for graph in candidate_graphs(graphs.cycle(10))]
        ['cycle(10)', 'path(10)', 'star(10)', 'torus(2, 5)', 'random_regular(10, 3)', 'exponential(10)', 'complete(10)']
    """
    n = own.num_agents
    rows = max(side for side in range(1, math.isqrt(n) + 1) if n % side == 0)
    degree = 3 + n % 2  # N · degree is even
    others = [graphs.path(n)] if n > 1 else []
    others += [graphs.star(n), graphs.cycle(n)] if n > 2 else []
    others += [graphs.torus(rows, n // rows)] if rows > 1 else []
    others += [graphs.random_regular(n, degree)] if n > degree + 1 else []
    others += [graphs.exponential(n), graphs.complete(n)]
    different: list[Graph] = []
    for graph in [own, *others]:
        if not any(np.array_equal(graph.adjacency, other.adjacency) for other in different):
            different.append(graph)
    return different


def compare_candidates(
    deployment: Deployment,
    *,
    learning_rate: float,
    target: float,
    quantity: str = "test_loss",
    max_rounds: int = 10_000,
    fractions: Sequence[float] = FRACTIONS,
) -> xr.Dataset:
    """Rounds and messages to the target on `candidate_graphs`, at fractions of their largest stable rates.

    Args:
        deployment: agents, data, network and algorithm; its graph is the first of the candidates.
        learning_rate: η, which is tried on every graph beside the fractions.
        target: loss to be reached by all agents.
        quantity: "test_loss", "train_loss" or "objective".
        max_rounds: after which a candidate is given up. It is given up earlier, too, once the first has arrived and it
            can neither be as fast nor get by with as few messages.
        fractions: of the largest stable rate of each graph.

    Returns:
        Over candidates: `rounds` of the slowest agent (NaN if it did not arrive), `slowest` (agent), `rounds_computed`,
        `outcome`, `messages_per_round` (one along every edge to a listener), `messages` until the slowest agent has
        arrived, `largest_learning_rate`, `share_of_limit`; coordinates `graph` and `learning_rate`.

    Example:
        >>> from consilience.experiments.deployment import deploy
        >>> small = deploy({"partition": {"name": "by_class", "num_agents": 3}}, num_samples=10, width=None)
        >>> found = compare_candidates(small, learning_rate=0.1, target=0.4, fractions=[0.5])
        >>> recommend(found).sentence.split(" is recommended: ")[0]
        'path(3) at η = 0.537'
    """
    d = deployment
    options, limits, rates = [], [], []
    for graph in candidate_graphs(d.graph):
        limit = rate_limit(d, graph)
        for rate in sorted({learning_rate, *(share * limit for share in fractions if 0 < limit < math.inf)}):
            options.append(graph)
            limits.append(limit)
            rates.append(rate)
    per_round = np.array([np.count_nonzero(graph.adjacency) for graph in options])
    found = rounds_to_target(
        d.linearization,
        [d.mixing(rate, graph) for graph, rate in zip(options, rates, strict=True)],
        algorithm=d.algorithm,
        learning_rates=rates,
        target=target,
        quantity=quantity,
        max_rounds=max_rounds,
        # Whoever needs more rounds than the first by the largest ratio of messages per round needs more messages, too.
        patience=max(LEAST_PATIENCE, per_round.max() / max(per_round.min(), 1)),
        weight_decay=d.weight_decay,
    )
    rounds = found.rounds.max("agent", skipna=False).values
    ranks = found.rounds.fillna(math.inf)
    return xr.Dataset(
        {
            "rounds": (CANDIDATE, rounds),
            "slowest": (CANDIDATE, ranks.argmax("agent").values),
            "rounds_computed": found.rounds_computed,
            "outcome": found.outcome,
            "messages_per_round": (CANDIDATE, per_round),
            "messages": (CANDIDATE, rounds * per_round),
            "largest_learning_rate": (CANDIDATE, np.array(limits)),
            "share_of_limit": (CANDIDATE, np.array(rates) / np.array(limits)),
        },
        {"graph": (CANDIDATE, [graph.name for graph in options]), "learning_rate": (CANDIDATE, np.array(rates))},
        {"target": target, "quantity": quantity, "algorithm": d.algorithm},
    )


def recommend(candidates: xr.Dataset) -> Recommendation | None:
    """The candidate with the smallest product of rounds and messages, among those well below their stability limit.

    Args:
        candidates: what `compare_candidates` returns.

    Returns:
        The recommendation, or None if no candidate reaches the target.

    Example:
        >>> of_two = {"rounds": [100.0, 40.0], "messages": [2000.0, 3600.0], "share_of_limit": [0.5, 0.7],
        ...           "graph": ["cycle(10)", "complete(10)"], "learning_rate": [0.3, 0.3]}
        >>> recommend(xr.Dataset({name: (CANDIDATE, values) for name, values in of_two.items()})).best
        1
    """
    eligible = np.isfinite(candidates.rounds.values) & (candidates.share_of_limit.values <= ROBUST)
    if not eligible.any():
        return None
    rounds, messages = (np.where(eligible, candidates[name].values, math.inf) for name in ("rounds", "messages"))
    # Ties go to fewer messages, or fewer rounds.
    fastest, thriftiest = np.lexsort((messages, rounds))[0], np.lexsort((rounds, messages))[0]
    best = int(np.argmin(rounds * messages))
    return Recommendation(
        best, int(fastest), int(thriftiest), _sentence(candidates, best, int(fastest), int(thriftiest))
    )


def _sentence(candidates: xr.Dataset, best: int, fastest: int, thriftiest: int) -> str:
    def named(index: int) -> str:
        return f"{candidates.graph.values[index]} at η = {candidates.learning_rate.values[index]:.3g}"

    rounds, messages = candidates.rounds.values, candidates.messages.values
    margin = 1 / candidates.share_of_limit.values[best]
    robust = f"its learning rate could be {margin:.2g} times as large before rounds diverge"
    head = f"{named(best)} is recommended: {rounds[best]:,.0f} rounds and {messages[best]:,.0f} messages"
    if best == fastest == thriftiest:
        return f"{head}, the fewest of both; {robust}."
    reasons = []
    if best == fastest:
        reasons.append("the fewest rounds")
    else:
        reasons.append(f"{_more(rounds[best] / rounds[fastest])} the fewest rounds ({named(fastest)})")
    if best == thriftiest:
        reasons.append("the fewest messages")
    else:
        reasons.append(f"{_more(messages[best] / messages[thriftiest])} the fewest messages ({named(thriftiest)})")
    return f"{head}, {' and '.join(reasons)}, the best trade-off (least rounds × messages); {robust}."


def _more(ratio: float) -> str:
    return f"{ratio - 1:.0%} more than" if ratio < 1.995 else f"{ratio:.2g} times"
