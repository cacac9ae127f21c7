"""Fully-connected networks, the units of paper 001 (Eq. (C1))."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consilience.errors import InvalidSpec, UnknownName
from consilience.models.initialisers import check_initialiser, dense_layer
from consilience.models.model import Params

if TYPE_CHECKING:
    import jax

ACTIVATIONS = ("relu", "tanh", "erf", "sigmoid", "gelu", "linear")


def activation(name: str) -> Callable[[Any], Any]:
    """The point-wise function φ of that name."""
    import jax

    if name not in ACTIVATIONS:
        raise UnknownName.among("activation", name, ACTIVATIONS)
    if name == "linear":
        return lambda x: x
    return jax.lax.erf if name == "erf" else getattr(jax.nn, name)


def check_layers(family: str, depth: int, width: int, activation: str) -> None:
    """Refuses what is no fully-connected network, in the name of the `family` that was asked for it.

    Raises:
        InvalidSpec: if depth is negative or width is not positive.
        UnknownName: for an activation that does not exist.
    """
    if depth < 0 or (depth > 0 and width < 1):
        raise InvalidSpec(
            f"{family}(depth={depth}, width={width}): depth counts hidden layers (0 is a linear model, softmax "
            f"regression) and each has at least one neuron. Write {family}(depth=1, width=20), say."
        )
    if activation not in ACTIVATIONS:
        raise UnknownName.among("activation", activation, ACTIVATIONS)


@dataclass(frozen=True)
class MLP:
    """x^{d+1} = φ(W^{d+1} x^d + b^{d+1}), with `depth` = D hidden layers of `width` neurons and a linear readout.

    Parameters: {"layer_0": {"weight": (width, inputs), "bias": (width,)}, ..., "layer_D": ...}. Inputs of any shape
    are flattened.
    """

    depth: int
    width: int = 20
    activation: str = "relu"
    initialiser: str = "normal"

    def __post_init__(self) -> None:
        check_layers("mlp", self.depth, self.width, self.activation)
        check_initialiser(self.initialiser)

    @property
    def name(self) -> str:
        """For tables and file names."""
        return f"mlp(depth={self.depth}, width={self.width})" if self.depth else "softmax_regression"

    def init(self, key: jax.Array, input_shape: tuple[int, ...], num_outputs: int) -> Params:
        """Weights and biases of all layers."""
        import jax

        sizes = [math.prod(input_shape), *[self.width] * self.depth, num_outputs]
        return {
            f"layer_{d}": dense_layer(self.initialiser, jax.random.fold_in(key, d), sizes[d], sizes[d + 1])
            for d in range(self.depth + 1)
        }

    def apply(self, params: Params, inputs: jax.Array) -> jax.Array:
        """Outputs of shape (batch, outputs)."""
        return self._signals(params, inputs)[-1].T

    def jacobian_factors(self, params: Params, inputs: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """The Jacobian of the outputs, layer by layer, as outer products; see `Model`.

        Returns:
            For each dense layer, from the first to the readout, what it reads with a one for its bias, shape (batch,
            fan-in + 1), and the derivatives of the outputs with respect to W x + b, shape (batch, outputs, fan-out).

        Example:
            >>> import jax
            >>> model = mlp(depth=1, width=20)
            >>> params = model.init(jax.random.key(0), (28, 28), 10)
            >>> [(a.shape, s.shape) for a, s in model.jacobian_factors(params, jax.numpy.zeros((3, 28, 28)))]
            [((3, 785), (3, 10, 20)), ((3, 21), (3, 10, 10))]
        """
        import jax
        import jax.numpy as jnp

        def forward(biases: dict[str, jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
            *read, outputs = self._signals({name: {**params[name], "bias": biases[name]} for name in biases}, inputs)
            return outputs, read

        # With a bias for each sample, the derivative with respect to it is that with respect to the sample's W x + b.
        biases = {name: jnp.tile(layer["bias"][:, None], inputs.shape[0]) for name, layer in params.items()}
        outputs, pull_back, read = jax.vjp(forward, biases, has_aux=True)
        unit = jnp.eye(outputs.shape[0], dtype=outputs.dtype)[:, :, None]
        (sensitivities,) = jax.vmap(pull_back)(jnp.broadcast_to(unit, (outputs.shape[0], *outputs.shape)))
        one = jnp.ones((inputs.shape[0], 1), outputs.dtype)
        return [
            (jnp.concatenate([signal.T, one], axis=1), sensitivities[f"layer_{d}"].transpose(2, 0, 1))
            for d, signal in enumerate(read)
        ]

    def _signals(self, params: Params, inputs: jax.Array) -> list[jax.Array]:
        """What each layer reads, from the flattened inputs on, and last the outputs, all of shape (neurons, batch).

        Weights stand on the left and samples in columns, so that the weights of all replicas of an agent form one tall
        matrix as they lie in memory: vectorised over replicas, the product stays one product (decision 0018).
        """
        phi = activation(self.activation)
        signals = [inputs.reshape(inputs.shape[0], -1).T]
        for d in range(self.depth + 1):
            layer = params[f"layer_{d}"]
            neurons = layer["weight"].shape[0]
            weighted = layer["weight"] @ signals[-1] + layer["bias"].reshape(neurons, -1)
            signals.append(phi(weighted) if d < self.depth else weighted)
        return signals


def mlp(depth: int, width: int = 20, *, activation: str = "relu", initialiser: str = "normal") -> MLP:
    """A fully-connected network with `depth` hidden layers.

    Args:
        depth: D, the number of hidden layers; 0 is softmax regression.
        width: neurons per hidden layer.
        activation: "relu", "tanh", "erf", "sigmoid", "gelu" or "linear".
        initialiser: "normal" (every weight and bias from N(0, 1), paper 001), "he" or "lecun".

    Raises:
        InvalidSpec: if depth is negative or width is not positive.
        UnknownName: for an activation or initialiser that does not exist.

    Example:
        >>> import jax
        >>> model = mlp(depth=1, width=20)
        >>> params = model.init(jax.random.key(0), (28, 28), 10)
        >>> model.apply(params, jax.numpy.zeros((3, 28, 28))).shape
        (3, 10)
    """
    return MLP(depth=depth, width=width, activation=activation, initialiser=initialiser)


def softmax_regression(*, initialiser: str = "normal") -> MLP:
    """Multinomial regression: the network of depth 0."""
    return MLP(depth=0, initialiser=initialiser)
