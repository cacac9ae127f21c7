"""What is out of the ordinary about a population, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from consilience.graphs import MixingMatrix
from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.spectra.influence import Influence
from consilience.theory.peer_to_peer.spectra.minimality import Minimality
from consilience.theory.peer_to_peer.spectra.spectrum import TOLERANCE

_MOST_NAMED = 5
_ALONE = 0.9
"""Share of a mode from which it is said to be one agent's."""


def of_mixing(mixing: MixingMatrix, whose: Influence) -> tuple[str, ...]:
    """Sums of W that are not one, and what they do; mixing that diverges by itself."""
    found = []
    if not mixing.is_row_stochastic:
        found.append(
            f"{_worst_sums('row', mixing.weights.sum(axis=1))}: mixing moves agents that agree, so that it carries "
            "them away from θ⁰ whatever they learn, and with them the point at which the network was linearised. Take "
            "a W whose rows sum to one (graphs.metropolis, graphs.row_stochastic), or divide by push-sum's weights."
        )
    if not mixing.is_column_stochastic:
        found.append(
            f"{_worst_sums('column', mixing.weights.sum(axis=0))}, so that W is not doubly stochastic: agents agree "
            f"on a weighted mean, in which the data of {_counts(whose.weights)}, where 1/{mixing.num_agents} = "
            f"{1 / mixing.num_agents:.3g} would be fair. On an undirected graph graphs.metropolis(graph) is doubly "
            "stochastic."
        )
    if mixing.spectral_radius > 1 + TOLERANCE:
        worst = mixing.eigenvalues[np.argmax(np.abs(mixing.eigenvalues))]
        found.append(
            f"Mixing alone diverges: W has the eigenvalue {_number(worst)}, by which disagreement is multiplied in a "
            "round, so that no learning rate is stable unless mixing becomes weaker with it. Couple less: take "
            "graphs.metropolis, or W closer to 1."
        )
    return tuple(found)


def of_connection(mixing: MixingMatrix, whose: Influence) -> tuple[str, ...]:
    """Agents that do not hear from all others."""
    found = []
    if not whose.is_connected:
        groups = "; ".join(agents(group) for group in whose.groups[:_MOST_NAMED])
        more = f"; and {len(whose.groups) - _MOST_NAMED} more" if len(whose.groups) > _MOST_NAMED else ""
        found.append(
            f"The graph is not connected: {len(whose.groups)} groups listen to nobody outside ({groups}{more}). "
            "Nobody in a group learns from the data of others, however long it takes. Add edges between the groups."
        )
    if whose.followers and mixing.is_row_stochastic:
        found.append(
            f"Nobody among {_leaders(whose)} listens to {agents(whose.followers)}, who follow but are not heard: their "
            "data count for themselves only. Add an edge back."
        )
    return tuple(found)


def of_staying_modes(num_staying: int, weight_decay: float) -> tuple[str, ...]:
    """Modes with eigenvalue 1."""
    if not num_staying or weight_decay:
        return ()
    return (
        f"{_modes(num_staying)} {'has' if num_staying == 1 else 'have'} eigenvalue 1: directions of parameter space "
        "along which a group of agents has no data. They stay where they started, neither learned nor diverging.",
    )


def of_rate(rate: float, limit: float, limited_by: str, eigenvalue: complex, mixing: MixingMatrix) -> tuple[str, ...]:
    """A learning rate beyond the limit."""
    if rate <= limit or mixing.spectral_radius > 1 + TOLERANCE:
        return ()
    if limit == 0:
        edge = [w for w in mixing.eigenvalues if abs(abs(w) - 1) <= TOLERANCE and abs(w - 1) > TOLERANCE]
        cause = (
            f" W has the eigenvalue {_number(edge[0])}, from where any step leads out of the unit circle."
            if edge
            else ""
        )
        return (f"No learning rate is stable, however small.{cause} Write graphs.lazy(W), or use ATC or CTA.",)
    if abs(eigenvalue) <= 1:
        return (
            f"The learning rate {rate:.4g} is stable, but some smaller rates are not: from {limit:.4g} on. "
            f"{limited_by}",
        )
    return (
        f"The learning rate {rate:.4g} is {rate / limit:.3g} times the largest stable one, {limit:.4g}: an eigenvalue "
        f"of {_number(eigenvalue)} multiplies the error by {abs(eigenvalue):.4g} per round. {limited_by}",
    )


def of_marginal_modes(eigenvalues: Any) -> tuple[str, ...]:
    """Eigenvalues on the unit circle other than 1."""
    marginal = eigenvalues[(np.abs(np.abs(eigenvalues) - 1) <= TOLERANCE) & (np.abs(eigenvalues - 1) > TOLERANCE)]
    if not len(marginal):
        return ()
    return (
        f"The eigenvalue {_number(marginal[0])} lies on the unit circle: what starts along its mode rings for ever. A "
        "lazy mixing matrix, graphs.lazy(W), has none there.",
    )


def of_hidden_modes(found: Minimality, bibo_stable: bool, mixing: MixingMatrix, algorithm: str) -> tuple[str, ...]:
    """Modes that inputs do not reach or outputs do not show; what follows for Proposition 1."""
    sentences = []
    if not found.is_minimal:
        most = max(found.hidden, key=lambda modes: max(modes.num_unreachable, modes.num_unobservable))
        count = max(most.num_unreachable, most.num_unobservable)
        sentences.append(
            f"The population is not minimal: of {found.num_modes} modes, inputs do not reach {found.num_unreachable}, "
            f"and outputs do not show {found.num_unobservable}. Most of them, {count}, belong to the eigenvalue "
            f"{_number(most.eigenvalue)} of W, of multiplicity {most.multiplicity}: {agents(most.agents)} differ along "
            f"directions in which they have no data. {_what_becomes(most.eigenvalue)} Proposition 1 of paper 003 does "
            "not apply, "
            f"{'but the flow is BIBO stable all the same' if bibo_stable else 'and the flow is not BIBO stable'}."
        )
    elif not bibo_stable:
        why = "has negative weights" if not mixing.is_non_negative else f"is used by {algorithm.upper()}, not DGD"
        sentences.append(
            f"The gradient flow is not BIBO stable: a mode that grows is reached by inputs and shown by outputs. "
            f"Proposition 1 does not apply, as {mixing.name} {why}."
        )
    return tuple(sentences)


def what_limits(limit: float, eigenvalue: complex, shares: Floats, curvatures: Floats) -> str:
    """What happens beyond the largest learning rate."""
    if limit == 0:
        return "However small the rate, a mode grows."
    if math.isinf(limit):
        return "No rate that was tried is unstable."
    shares = shares / shares.sum()
    top = int(np.argmax(shares))
    if shares[top] >= _ALONE:
        who = f"agent {top} alone ({shares[top]:.0%} of the mode), whose own curvature is {curvatures[top]:.4g}"
    else:
        named = [
            f"{agent} ({shares[agent]:.0%})" for agent in np.argsort(-shares)[:_MOST_NAMED] if shares[agent] >= 0.01
        ]
        who = f"agents {_joined(named)} together"
    return f"Beyond it, a mode of {who} grows and {_rhythm(eigenvalue)}."


def agents(which: Sequence[int]) -> str:
    """The agents by number, the first few if they are many."""
    if len(which) == 1:
        return f"agent {which[0]}"
    if len(which) > 2 and list(which) == list(range(which[0], which[-1] + 1)):
        return f"agents {which[0]} to {which[-1]}"
    named = [str(agent) for agent in which[:_MOST_NAMED]]
    if len(which) > _MOST_NAMED:
        return f"agents {', '.join(named)} and {len(which) - _MOST_NAMED} more"
    return f"agents {_joined(named)}"


def _rhythm(eigenvalue: complex) -> str:
    if abs(eigenvalue.imag) <= 1e-6 * abs(eigenvalue):
        return "changes sign every round (period two)" if eigenvalue.real < 0 else "keeps its sign"
    return f"turns with a period of {2 * math.pi / abs(np.angle(eigenvalue)):.3g} rounds"


def _what_becomes(eigenvalue: complex) -> str:
    if abs(eigenvalue - 1) <= TOLERANCE:
        return "These stay as they are."
    verb = "decay" if abs(eigenvalue) < 1 else "grow"
    return f"Mixing alone makes these {verb}, by {abs(eigenvalue):.3g} per round."


def _leaders(whose: Influence) -> str:
    return agents(sorted(agent for group in whose.groups for agent in group))


def _worst_sums(what: str, sums: Floats) -> str:
    low, high = int(np.argmin(sums)), int(np.argmax(sums))
    return f"{what.capitalize()} {high} of W sums to {sums[high]:.4g}, {what} {low} to {sums[low]:.4g}"


def _counts(weights: Floats) -> str:
    low, high = int(np.argmin(weights)), int(np.argmax(weights))
    return f"agent {high} count {weights[high]:.3g} and those of agent {low} {weights[low]:.3g}"


def _number(value: complex) -> str:
    value = complex(value)
    if abs(value.imag) <= 1e-9 * max(abs(value), 1e-300):
        return f"{value.real:.4g}"
    return f"{value.real:.4g} ± {abs(value.imag):.4g}i"


def _modes(count: int) -> str:
    return "1 mode" if count == 1 else f"{count} modes"


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
