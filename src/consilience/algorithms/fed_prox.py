"""FedProx: federated averaging with a proximal term."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from consilience.algorithms.algorithm import Local
from consilience.algorithms.federated_averaging import FederatedAveraging
from consilience.algorithms.validation import check_non_negative

if TYPE_CHECKING:
    from consilience.models import Params


class _NearStart(Local):
    """An agent's mini-batches with the loss L + μ/2 ‖θ − start‖²."""

    start: Params
    proximity: Any

    def loss(self, params: Params, step: int = 0) -> jax.Array:
        """Mean loss of the step's mini-batch, plus the proximal term."""
        squares = jax.tree.map(lambda theta, origin: jnp.sum((theta - origin) ** 2), params, self.start)
        return super().loss(params, step) + self.proximity / 2 * sum(jax.tree.leaves(squares))


class FedProx(FederatedAveraging):
    """FedProx: FedAvg whose agents are held near the global model while they learn.

    Update rule:
        as `FederatedAveraging`, with the loss L_i + μ/2 ‖θ_i − θ‖² in the local steps; θ is the global model from which
        they start
    Reduces to:
        `FederatedAveraging` at μ = 0; the same at any μ with one local step; SGD at N = 1 and μ = 0.
    Cost:
        one model up and one down per active agent and round; `local_steps` gradients.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters.
    Known limits:
        less client drift than FedAvg, and slower learning: with enough local steps it still settles away from the
        minimum of the mean loss. η (μ + curvature) > 2 makes local steps diverge.
    Source:
        T. Li, A. K. Sahu, M. Zaheer, M. Sanjabi, A. Talwalkar and V. Smith, Federated optimization in heterogeneous
        networks, MLSys 2020, Algorithm 2 [li2020]. Local problems are solved by `local_steps` steps.

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        local_steps: steps between two averages.
        optimiser: of the local steps, as in `FederatedAveraging`.
        compressor: of what travels up.
        memory: what agents keep of what the compressor left out.
        server: the server's optimiser.
        server_rate: the server's learning rate; 1 keeps the mean.
        proximity: μ ≥ 0, how firmly agents are held.

    Example:
        >>> FedProx(learning_rate=0.1, local_steps=10, proximity=0.5).proximity
        0.5
    """

    proximity: Any = 0.0

    def __check_init__(self) -> None:
        check_non_negative(self, proximity=self.proximity)

    def learn(self, params: Params, memory: Any, local: Local) -> tuple[Params, Any]:
        """The local steps of one round, near the parameters from which they start."""
        given = {name: getattr(local, name) for name in ("inputs", "targets", "weights", "apply", "loss_function")}
        return super().learn(params, memory, _NearStart(**given, start=params, proximity=self.proximity))
