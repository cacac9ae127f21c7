"""Local optimisers: which way an agent goes, given its gradients. θ ← θ − η d with the direction d from here.

Each is a slot of a method, with its numbers as fields, so that a sweep can stack them. The arithmetic is optax's.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax

if TYPE_CHECKING:
    import optax

    from consilience.models import Params


class Optimiser(eqx.Module):
    """Turns gradients into directions. The learning rate is the method's, not the optimiser's."""

    @abc.abstractmethod
    def transformation(self) -> optax.GradientTransformation:
        """The optax transformation from gradients to directions."""

    def init(self, params: Params) -> Any:
        """What it remembers before the first gradient."""
        return self.transformation().init(params)

    def direction(self, gradient: Params, state: Any, params: Params) -> tuple[Params, Any]:
        """The direction d, which is subtracted, and what the optimiser now remembers.

        Example:
            >>> import jax.numpy as jnp
            >>> heavy, gradient = Momentum(0.5), jnp.array([1.0])
            >>> d, state = heavy.direction(gradient, heavy.init(gradient), gradient)
            >>> d, state = heavy.direction(gradient, state, gradient)
            >>> d.tolist()
            [1.5]
        """
        direction, state = self.transformation().update(gradient, state, params)
        return jax.tree.map(lambda d, theta: d.astype(theta.dtype), direction, params), state


class Plain(Optimiser):
    """The gradient itself, as in SGD.

    Example:
        >>> import jax.numpy as jnp
        >>> Plain().direction(jnp.array([2.0]), Plain().init(jnp.array([0.0])), jnp.array([0.0]))[0].tolist()
        [2.0]
    """

    def transformation(self) -> optax.GradientTransformation:
        """The identity."""
        import optax

        return optax.identity()


class Momentum(Optimiser):
    """Heavy ball: d ← decay · d + g.

    Source:
        B. T. Polyak, Some methods of speeding up the convergence of iteration methods, 1964 [polyak1964].

    Attributes:
        decay: share of the last direction that is kept, in [0, 1).

    Example:
        >>> Momentum(0.9)
        Momentum(decay=0.9)
    """

    decay: Any = 0.9

    def transformation(self) -> optax.GradientTransformation:
        """optax's trace."""
        import optax

        return optax.trace(decay=self.decay)


class Adam(Optimiser):
    """d = m̂ / (√v̂ + ε), with means of gradients and of their squares, corrected for their start at zero.

    Source:
        D. P. Kingma and J. Ba, Adam, ICLR 2015, Algorithm 1 [kingma2015].

    Attributes:
        b1: decay of the mean of gradients.
        b2: decay of the mean of squares.
        eps: ε, added to the root.

    Example:
        >>> import jax.numpy as jnp
        >>> direction, _ = Adam().direction(jnp.array([0.3]), Adam().init(jnp.array([0.0])), jnp.array([0.0]))
        >>> round(float(direction[0]), 3)   # the first step is of size one
        1.0
    """

    b1: Any = 0.9
    b2: Any = 0.999
    eps: Any = 1e-8

    def transformation(self) -> optax.GradientTransformation:
        """optax's scale_by_adam."""
        import optax

        return optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps)


class Lion(Optimiser):
    """d = sign(b1 m + (1 − b1) g), and m ← b2 m + (1 − b2) g.

    Source:
        X. Chen et al., Symbolic discovery of optimization algorithms, NeurIPS 2023, Algorithm 2 [chen2023].

    Attributes:
        b1: weight of the mean in the direction.
        b2: decay of the mean.

    Example:
        >>> import jax.numpy as jnp
        >>> Lion().direction(jnp.array([-0.3]), Lion().init(jnp.array([0.0])), jnp.array([0.0]))[0].tolist()
        [-1.0]
    """

    b1: Any = 0.9
    b2: Any = 0.99

    def transformation(self) -> optax.GradientTransformation:
        """optax's scale_by_lion."""
        import optax

        return optax.scale_by_lion(b1=self.b1, b2=self.b2)


OPTIMISERS: Mapping[str, type[Optimiser]] = MappingProxyType(
    {"plain": Plain, "momentum": Momentum, "adam": Adam, "lion": Lion}
)
"""Name → class, for specs that are text."""
