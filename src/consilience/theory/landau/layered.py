"""The parent system (A5)–(A6) of paper 001: one scalar per layer and agent, before layers are taken to be equal.

    θ̇_i^d = δ_i Π_{k≠d} θ_i^k − s_i θ_i^d Π_{k≠d} (θ_i^k)² − γ̂ θ_i^d + (σ̂/N) Σ_j q_ij (θ_j^d − θ_i^d)

in the time of Eq. (4), which is twice that of (A5): σ̂ = σ/2, γ̂ = γ. At equal layers all θ_i^d are m_i of Eq. (4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from consilience.errors import IncompatiblePair
from consilience.graphs import Graph
from consilience.theory.landau.arguments import (
    as_callable,
    check_depth,
    check_positive,
    check_system,
    check_times,
    numbers,
)
from consilience.theory.landau.integration import Form, check_functions_of_time, on_any_graph, solve_rows


def layered_drift(theta: Any, delta: Any, *, depth: int, weight_decay: Any, second_moment: Any = 1.0) -> Any:
    """−∂L̂_i/∂θ_i^d of (A6), halved; shape (…, layers, agents) like `theta`, the others with one layer.

    Example:
        >>> layered_drift(np.array([[2.0], [3.0]]), 1.0, depth=1, weight_decay=0.0).ravel().tolist()
        [-15.0, -10.0]
    """
    layers = range(depth + 1)
    others = []
    for d in layers:
        product = 1.0
        for k in layers:
            product = product if k == d else product * theta[..., k : k + 1, :]
        others.append(product)
    slopes = [
        delta * product - (second_moment * product * product + weight_decay) * theta[..., d : d + 1, :]
        for d, product in enumerate(others)
    ]
    if isinstance(theta, np.ndarray):
        return np.concatenate(slopes, axis=-2)
    import jax.numpy as jnp

    return jnp.concatenate(slopes, axis=-2)


def layered(
    delta: Any,
    initial: Any,
    *,
    depth: int,
    coupling: Any,
    weight_decay: Any = 1e-3,
    times: Any,
    graph: Graph | Callable[[Any], Any] | None = None,
    second_moment: Any = 1.0,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> np.ndarray:
    """Solve (A5)–(A6) of paper 001 forward in time: all layers of all agents.

    Args:
        delta: δ_i, shape (…, agents).
        initial: θ_i^d at times[0], shape (…, depth + 1, agents); its batch shape broadcasts against that of `delta`.
        depth: D ≥ 0, hidden layers.
        coupling: σ̂ = σ/2, as in `integrate`; or a function of time.
        weight_decay: γ̂ = γ.
        times: increasing, in the time of Eq. (4).
        graph: as in `integrate`.
        second_moment: s_i ≥ 0, broadcastable against `delta`.
        rtol: as in `integrate`.
        atol: as in `integrate`.

    Returns:
        θ, shape (times, …, depth + 1, agents). The order parameter m_i is its mean over layers.

    Raises:
        InvalidSpec: for values that cannot be.
        IncompatiblePair: for shapes or a graph that do not fit.

    Example:
        >>> theta = layered([1.0], [[0.5], [0.2]], depth=1, coupling=0.0, weight_decay=0.0, times=[0.0, 50.0])
        >>> (theta[-1].prod(axis=0)).round(6).tolist()      # θ¹θ² = δ: the data are fitted; θ¹² − θ²² is conserved
        [1.0]
        >>> round(float(theta[-1, 0, 0] ** 2 - theta[-1, 1, 0] ** 2), 6)
        0.21

    Source:
        Paper 001, (A5)–(A6).
    """
    depth = check_depth(depth)
    theta = numbers("initial", initial, meaning="this is the parameter θ_i^d of each layer and agent.")
    if theta.ndim < 2 or theta.shape[-2] != depth + 1:
        raise IncompatiblePair(
            f"initial has shape {theta.shape}; a network of depth {depth} has {depth + 1} layers, so the shape is "
            f"(…, {depth + 1}, agents). Write np.tile(m[..., None, :], ({depth + 1}, 1)) for equal layers."
        )
    coupling_at, adjacency_at = as_callable(coupling), as_callable(graph)
    system = check_system(
        delta,
        theta[..., 0, :],  # for the check of shapes
        depth=depth,
        coupling=0.0 if coupling_at else coupling,
        weight_decay=weight_decay,
        graph=None if adjacency_at else graph,  # pyright: ignore[reportArgumentType]
        second_moment=second_moment,
    )
    n = system.num_agents
    theta = np.broadcast_to(theta, (*system.batch_shape, depth + 1, n))
    rows = {
        "delta": system.delta.reshape(-1, 1, n),
        "second_moment": system.second_moment.reshape(-1, 1, n),
        "coupling": system.coupling.reshape(-1, 1, 1),
        "weight_decay": system.weight_decay.reshape(-1, 1, 1),
    }
    form = Form(
        local=layered_drift,
        depth=depth,
        coupling_at=coupling_at,
        adjacency_at=adjacency_at,
        is_uniform=system.uniform_weight is not None and adjacency_at is None,
    )
    times = check_times(times)
    check_functions_of_time(form, times, n)
    solver = on_any_graph(system, form, (check_positive("rtol", rtol), check_positive("atol", atol)))
    result = solve_rows(solver, theta.reshape(-1, depth + 1, n), rows, times)
    return result.reshape(len(result), *theta.shape)
