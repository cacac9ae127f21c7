"""Losses as functions of other parameters: a part of a model's, or those of a model that is pruned."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax

from consilience.algorithms.algorithm import Local

if TYPE_CHECKING:
    from consilience.models import Params


class Reparametrised(Local):
    """Mini-batches whose loss is a function of other parameters φ: L(θ(φ)) + penalty(θ(φ)), and so are gradients.

    Example:
        >>> import jax.numpy as jnp
        >>> local = Local(
        ...     inputs=jnp.ones((1, 2, 1)), targets=jnp.zeros((1, 2)), weights=None,
        ...     apply=lambda theta, x: x @ theta, loss_function=lambda output, target: (output - target)**2)
        >>> doubled = reparametrised(local, lambda phi: 2 * phi)
        >>> doubled.gradient(jnp.array([1.0])).tolist()   # of (2 φ)² at φ = 1
        [8.0]
    """

    embed: Callable[[Any], Params] = eqx.field(static=True, kw_only=True)
    """φ ↦ θ."""
    penalty: Callable[[Params], Any] | None = eqx.field(static=True, kw_only=True, default=None)
    """Of θ, added to the loss."""

    def loss(self, params: Any, step: int = 0) -> jax.Array:
        """L(θ(φ)) + penalty(θ(φ)) on the step's mini-batch."""
        theta = self.embed(params)
        loss = super().loss(theta, step)
        return loss if self.penalty is None else loss + self.penalty(theta)


def reparametrised(
    local: Local, embed: Callable[[Any], Params], penalty: Callable[[Params], Any] | None = None
) -> Reparametrised:
    """The same mini-batches, with a loss of other parameters; see `Reparametrised`."""
    data = {name: getattr(local, name) for name in ("inputs", "targets", "weights", "apply", "loss_function")}
    return Reparametrised(**data, embed=embed, penalty=penalty)
