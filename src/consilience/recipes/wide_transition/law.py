"""The law of the transition on the complete graph: exchange and learning are resistances in series.

In orthonormal coordinates v of the linearised network, agent q has the curvature H_q and the force f_q = −g_q, and
Eq. (2) is its gradient descent while the mean v̄ pulls at rate σ:

    dv_q/dt = f_q − H_q v_q + σ (v̄ − v_q),        dv̄/dt = ⟨f_q − H_q v_q⟩,        t = η · rounds.

An agent comes to rest between its data and the mean within a time 1/σ. The mean is slower, by up to the number of
agents, for what only one of them knows moves the mean by one part in N. With v_q = (H_q + σ)⁻¹(f_q + σ v̄) therefore

    dv̄/dt = F − M v̄,       M = ⟨σ H_q (σ + H_q)⁻¹⟩,       F = ⟨σ (σ + H_q)⁻¹ f_q⟩ :

the mean descends the average of the Moreau envelopes of all losses. A direction in which one agent has curvature h is
learned by all at the rate 1/(N (1/σ + 1/h)). Weak coupling, σ ≪ h, leaves M = σ P̄ with P̄ the mean of the projectors
onto what each agent's data determine: time enters as σt alone, and the mean is projected onto everybody's set of
solutions at once. Strong coupling leaves gradient descent on the mean loss. Weight decay turns H_q into H_q + 2γ; the
state of rest is then exact, and direction h is known to all where σ exceeds about 2γ(N − 2).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import xarray as xr

from consilience import tasks
from consilience.axes import ROUND
from consilience.randomness import Purpose, generator
from consilience.recipes.wide_transition.prediction import Floats, cross_accuracy, unseen
from consilience.recipes.wide_transition.protocol import NUM_AGENTS, WideTransition
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.coordinates import Coordinates, coordinates

_SMALLEST = 1e-9
"""Curvatures below this share of the largest are rounding errors of zero."""


@dataclass(frozen=True, eq=False)
class Agents:
    """What each agent's data say, in the eigenbasis of its curvature.

    Attributes:
        curvatures: eigenvalues h of H_q, shape (agents, rank).
        axes: their eigenvectors, as columns, shape (agents, rank, rank).
        forces: f_q in that basis, shape (agents, rank, columns).
    """

    curvatures: Floats
    axes: Floats
    forces: Floats

    def back(self, values: Floats) -> Floats:
        """From the agents' eigenbases, (agents, rank, columns), to the common coordinates."""
        return self.axes @ values


def agents_of(coords: Coordinates) -> Agents:
    """The agents of a linearised network."""
    members = range(coords.linearization.num_agents)
    values, vectors = np.linalg.eigh(np.stack([coords.curvature(q) for q in members]))
    values[values < _SMALLEST * values.max()] = 0.0
    forces = -np.stack([coords.force(q) for q in members])
    return Agents(values, vectors, vectors.swapaxes(1, 2) @ forces)


def of_mean(agents: Agents, coupling: float, weight_decay: float = 0.0) -> tuple[Floats, Floats]:
    """M and F, shapes (rank, rank) and (rank, columns); the coordinates' origin is where weight decay pulls."""
    h = agents.curvatures + 2 * weight_decay
    share = coupling / (coupling + h)
    matrix = (agents.axes * (share * h)[:, None]) @ agents.axes.swapaxes(1, 2)
    return matrix.mean(axis=0), agents.back(share[..., None] * agents.forces).mean(axis=0)


def of_agents(agents: Agents, mean: Floats, coupling: float, weight_decay: float = 0.0) -> Floats:
    """v_q = (H_q + σ)⁻¹(f_q + σ v̄), shape (agents, rank, columns)."""
    pull = coupling * (agents.axes.swapaxes(1, 2) @ mean)
    h = agents.curvatures + 2 * weight_decay
    return agents.back((agents.forces + pull) / (h + coupling)[..., None])


def at_rounds(agents: Agents, coupling: float, learning_rate: float, rounds: Floats) -> Floats:
    """The agents after some numbers of rounds, from v̄ = 0, shape (rounds, agents, rank, columns)."""
    matrix, force = of_mean(agents, coupling)
    rates, vectors = np.linalg.eigh(matrix)
    rates = np.maximum(rates, np.finfo(float).tiny)
    along = vectors.T @ force
    grown = -np.expm1(np.multiply.outer(rounds, np.log1p(-learning_rate * rates))) / rates
    return np.stack([of_agents(agents, vectors @ (one[:, None] * along), coupling) for one in grown])


def at_rest(agents: Agents, coupling: float, weight_decay: float) -> Floats:
    """The agents as rounds go to infinity, with weight decay, shape (agents, rank, columns): exact.

    Example:
        >>> one = Agents(np.array([[2.0]]), np.ones((1, 1, 1)), np.array([[[3.0]]]))   # loss (v − 3/2)², γ v²
        >>> at_rest(one, coupling=1.0, weight_decay=0.5).tolist()
        [[[1.0]]]
    """
    matrix, force = of_mean(agents, coupling, weight_decay)
    return of_agents(agents, np.linalg.solve(matrix, force), coupling, weight_decay)


@dataclass(frozen=True, eq=False)
class Infinite:
    """A network of infinite width on the agents' data, with one draw of its initial function.

    Attributes:
        coordinates: of the linearised network.
        labels: classes of the test samples.
    """

    coordinates: Coordinates
    labels: Floats

    def unseen(self, states: Floats) -> Floats:
        """Accuracy on unseen classes of states (..., agents, rank, classes)."""
        outputs = self.coordinates.test_features @ states + self.coordinates.linearization.test_outputs
        return unseen(cross_accuracy(outputs, self.labels))


def infinite(
    depth: int, task: tasks.Task, shards: tasks.Shards, *, start: str = "common", draw: int | None = None
) -> Infinite:
    """The limit of infinite width of `models.ntk_mlp(depth)`.

    The mean of N independent initialisations is a network of weights of variance 1/N: its kernel is N times that of a
    network whose σ_w² and σ_b² are N times smaller, and falls as N^(−D).

    Args:
        depth: D.
        task: images and classes.
        shards: who has which.
        start: "common", or "independent" for the mean of N initialisations.
        draw: number of the initial function, drawn from its Gaussian process; None for zero, the mean of all.
    """
    scale = 1 if start == "common" else NUM_AGENTS
    kernel = peer_to_peer.infinite_width_kernel(depth, "relu", 2.0 / scale, 0.1 / scale)
    targets = tasks.one_hot(dataclasses.replace(task, loss=tasks.CrossEntropy()))
    inputs, answers = tasks.shard_arrays(targets, shards)
    lin = peer_to_peer.linearize(
        kernel, None, inputs, answers, test_inputs=targets.test_inputs, test_targets=targets.test_labels
    )
    lin = dataclasses.replace(lin, gram=scale * lin.gram)
    if draw is not None:
        values, vectors = np.linalg.eigh(kernel.covariance(np.concatenate([*inputs, targets.test_inputs])))
        noise = generator(draw, Purpose.INITIAL_PARAMETERS, depth).normal(size=(len(values), lin.num_outputs))
        function = vectors @ (np.sqrt(np.maximum(values, 0.0))[:, None] * noise)
        lin = dataclasses.replace(lin, outputs=function[: lin.num_rows], test_outputs=function[lin.num_rows :])
    return Infinite(coordinates(lin), task.test_labels)


def transition(
    config: WideTransition, depth: int, start: str, draw: int, task: tasks.Task, shards: tasks.Shards
) -> xr.Dataset:
    """`unseen`(coupling, round) by the law, rounds doubling; and `limit`(exchanges), what it is of σηT for σ → 0."""
    network = infinite(depth, task, shards, start=start, draw=draw)
    agents = agents_of(network.coordinates)
    rounds = 2.0 ** np.arange(0, np.log2(config.law_rounds) + 0.25, 0.5)
    found = [network.unseen(at_rounds(agents, sigma, config.learning_rate, rounds)) for sigma in config.law_couplings]
    weak = 1e-6 * agents.curvatures[agents.curvatures > 0].min()
    exchanges = np.geomspace(0.1, 1e4, 51)
    limit = network.unseen(at_rounds(agents, weak, config.learning_rate, exchanges / (weak * config.learning_rate)))
    return xr.Dataset(
        {"unseen": (("coupling", ROUND), np.array(found)), "limit": ("exchanges", limit)},
        {"coupling": list(config.law_couplings), ROUND: rounds, "exchanges": exchanges},
    )


def rest(config: WideTransition, depth: int, task: tasks.Task, shards: tasks.Shards) -> xr.Dataset:
    """`unseen`(weight_decay, coupling) at rest, of the mean initial function; weight decay pulls towards it."""
    network = infinite(depth, task, shards)
    agents = agents_of(network.coordinates)
    found = [
        [network.unseen(at_rest(agents, sigma, gamma)) for sigma in config.law_couplings]
        for gamma in config.weight_decays
    ]
    return xr.Dataset(
        {"unseen": (("weight_decay", "coupling"), np.array(found))},
        {"weight_decay": list(config.weight_decays), "coupling": list(config.law_couplings)},
    )
