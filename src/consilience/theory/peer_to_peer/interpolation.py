"""Where wide networks end without weight decay: everybody fits the data of all agents that are connected."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.csgraph

from consilience.graphs import MixingMatrix
from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.quantities import losses
from consilience.theory.peer_to_peer.rounds import State

_MISFIT = 1e-6
"""Of the initial errors, what may be left where a network is said to fit the data: rounding, at condition 1e10."""


def interpolation(linearization: Linearization, mixing: MixingMatrix) -> dict[str, Floats] | None:
    """The losses of all agents as rounds go to infinity, by a solve with the kernel in place of the round operator.

    Agents that agree and fit all data of their group are moved neither by mixing (rows sum to one) nor by gradients.
    From a common start, at stable rates and without weight decay, all three algorithms end there, whatever the weights:
    θ − θ⁰ = −Jᵀ K⁻¹ (f(X, θ⁰) − y), over the group's data.

    Args:
        linearization: network and data; agents start at θ⁰.
        mixing: W, of which only who is connected to whom is used.

    Returns:
        "train_loss", "objective" and "test_loss", each of shape (agents,). None where the end is another: the network
        cannot fit all data, rows of W do not sum to one, agents start apart, or some listen to agents who do not
        listen to them, not even through others.

    Example:
        >>> import numpy as np
        >>> from consilience import graphs
        >>> from consilience.theory import peer_to_peer
        >>> x = np.random.default_rng(0).normal(size=(4, 5, 3))
        >>> network = peer_to_peer.linearize(peer_to_peer.infinite_width_kernel(1), None, x, np.sin(9 * x[..., :1]))
        >>> together = interpolation(network, graphs.metropolis(graphs.cycle(4)))
        >>> alone = interpolation(network, graphs.from_matrix(np.eye(4)))
        >>> bool((together["objective"] < 1e-12).all()), bool((alone["objective"] > 0.1).all())
        (True, True)
    """
    lin = linearization
    groups = _groups(mixing)
    if groups is None or lin.start.any() or not mixing.is_row_stochastic:
        return None
    coefficients = np.zeros((1, lin.num_agents, lin.num_columns, len(lin.gram)))
    owner = np.repeat(np.arange(lin.num_agents), lin.sizes * lin.rows_per_sample)
    for group in groups:
        rows = np.flatnonzero(np.isin(owner, group))
        fitted = _fit(lin.kernel[np.ix_(rows, rows)], lin.residuals[rows])
        if fitted is None:
            return None
        shared = np.zeros((lin.num_columns, len(lin.gram)))
        shared[:, rows] = fitted.T
        coefficients[0, group] = shared
    found = losses(lin, State(coefficients, coefficients @ lin.gram))
    return {name: values[0] for name, values in found.items()}


def _groups(mixing: MixingMatrix) -> list[np.ndarray] | None:
    """Agents that are connected both ways; None if some are so one way only."""
    listens = scipy.sparse.csr_array(mixing.weights != 0)
    num_strong, label = scipy.sparse.csgraph.connected_components(listens, directed=True, connection="strong")
    num_weak, _ = scipy.sparse.csgraph.connected_components(listens, directed=True, connection="weak")
    return [np.flatnonzero(label == k) for k in range(num_strong)] if num_strong == num_weak else None


def _fit(kernel: Floats, residuals: Floats) -> Floats | None:
    """a with K a = −r, if there is one: samples may repeat, as long as their targets do not contradict each other."""
    try:
        fitted = -scipy.linalg.cho_solve(scipy.linalg.cho_factor(kernel), residuals)
    except np.linalg.LinAlgError:
        values, vectors = scipy.linalg.eigh(kernel)
        kept = values > len(values) * np.finfo(float).eps * values[-1]
        fitted = -vectors[:, kept] @ ((vectors[:, kept].T @ residuals) / values[kept, None])
    misfit = np.linalg.norm(kernel @ fitted + residuals)
    return fitted if misfit <= _MISFIT * np.linalg.norm(residuals) else None
