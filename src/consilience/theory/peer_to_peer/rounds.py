"""The three algorithms on the linearised network, round by round and exact, in kernel space.

    DGD   θ_q ← Σ_r w_qr θ_r − η ∇L_q(θ_q)
    ATC   θ_q ← Σ_r w_qr (θ_r − η ∇L_r(θ_r))
    CTA   ψ_q = Σ_r w_qr θ_r ;  θ_q ← ψ_q − η ∇L_q(ψ_q)

with L_q(θ) = (1/2n_q) Σ_k ‖f(x_k, θ) − y_k‖² + γ‖θ‖². Beside the coefficients z_q of θ_q − θ⁰ the state holds their
inner products G z_q with everything that is watched: the outputs on all training and test data. Both obey the same
recursion, so that a round costs one pass over the kernel, agents' rows only, whatever is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.linearization import Linearization


@dataclass(frozen=True, eq=False)
class State:
    """All agents at one moment, in one or several replicas (other graphs, other rates).

    Attributes:
        coefficients: z, shape (replicas, agents, columns, rows + directions).
        products: G z, shape (replicas, agents, columns, rows + directions + test rows).
    """

    coefficients: Floats
    products: Floats

    def mixed(self, weights: Floats) -> State:
        """Σ_r w_qr of the agents' states; weights have the shape (replicas, agents, agents)."""
        return State(_mixed(weights, self.coefficients), _mixed(weights, self.products))

    def minus(self, step: Floats, gradient: State) -> State:
        """This state minus `step` (replicas,) times a gradient."""
        factor = step[:, None, None, None]
        return State(self.coefficients - factor * gradient.coefficients, self.products - factor * gradient.products)


def _mixed(weights: Floats, values: Floats) -> Floats:
    num_replicas, num_agents = values.shape[:2]
    return (weights @ values.reshape(num_replicas, num_agents, -1)).reshape(values.shape)


def initial_state(linearization: Linearization, num_replicas: int = 1) -> State:
    """Round 0: every agent at θ⁰, or at its offset from it."""
    lin = linearization
    shape = (num_replicas, lin.num_agents, lin.num_columns)
    coefficients = np.zeros((*shape, len(lin.gram)))
    products = np.zeros((*shape, lin.gram.shape[1]))
    if lin.start.any():
        coefficients[..., lin.num_rows :] = lin.start[:, None, :]
        products[:] = (lin.start @ lin.gram[lin.num_rows :])[:, None, :]
    return State(coefficients, products)


def gradient(linearization: Linearization, state: State, weight_decay: float = 0.0) -> State:
    """∇L_q(θ_q) of every agent: E_qᵀ(E_q K a_q + E_q r)/n_q + 2γ(θ_q − θ⁰ + θ⁰), and its inner products."""
    lin = linearization
    coefficients, products = np.zeros_like(state.coefficients), np.empty_like(state.products)
    if (lin.sizes == lin.sizes[0]).all():
        _fill_equal(lin, state, coefficients, products)
    else:
        _fill_unequal(lin, state, coefficients, products)
    if weight_decay:
        coefficients += 2 * weight_decay * state.coefficients
        products += 2 * weight_decay * state.products
        if lin.num_directions:
            pull = 2 * weight_decay * lin.origin_norm
            coefficients[..., lin.num_rows] += pull
            products += pull * lin.gram[lin.num_rows]
    return State(coefficients, products)


def _fill_unequal(lin: Linearization, state: State, coefficients: Floats, products: Floats) -> None:
    """Residuals of each agent on its own data into its rows, and their product with the kernel."""
    for agent, rows in enumerate(lin.shards):
        residual = (state.products[:, agent, :, rows] + lin.residuals[rows].T) / lin.sizes[agent]
        coefficients[:, agent, :, rows] = residual
        products[:, agent] = residual @ lin.gram[rows]


def _fill_equal(lin: Linearization, state: State, coefficients: Floats, products: Floats) -> None:
    """The same for shards of one size, all agents at once: for small problems the loop is what takes the time."""
    agents, num_rows = np.arange(lin.num_agents), lin.num_rows // lin.num_agents
    shape = (*state.products.shape[:3], lin.num_agents, num_rows)
    own = state.products[..., : lin.num_rows].reshape(shape)[:, agents, :, agents]  # (agents, replicas, columns, rows)
    start = lin.residuals.T.reshape(lin.num_columns, lin.num_agents, num_rows).swapaxes(0, 1)
    residual = (own + start[:, None]) / lin.sizes[0]
    kernel = lin.gram[: lin.num_rows].reshape(lin.num_agents, num_rows, -1)
    flat = residual.reshape(lin.num_agents, -1, num_rows) @ kernel
    products[:] = flat.reshape(*residual.shape[:3], -1).swapaxes(0, 1)
    coefficients[..., : lin.num_rows].reshape(shape)[:, agents, :, agents] = residual


def advance(
    linearization: Linearization,
    state: State,
    weights: Floats,
    *,
    algorithm: str,
    learning_rate: Floats,
    weight_decay: float = 0.0,
) -> State:
    """The state after one more round.

    Args:
        linearization: network and data.
        state: all agents before the round.
        weights: W of each replica, shape (replicas, agents, agents).
        algorithm: "dgd", "atc" or "cta".
        learning_rate: η of each replica, shape (replicas,).
        weight_decay: γ.
    """
    if algorithm == "dgd":
        return state.mixed(weights).minus(learning_rate, gradient(linearization, state, weight_decay))
    if algorithm == "atc":
        return state.minus(learning_rate, gradient(linearization, state, weight_decay)).mixed(weights)
    mixed = state.mixed(weights)
    return mixed.minus(learning_rate, gradient(linearization, mixed, weight_decay))
