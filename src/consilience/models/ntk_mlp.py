"""Fully-connected networks whose training has a limit at infinite width: the NTK parametrisation of paper 003."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consilience.errors import InvalidSpec
from consilience.models.mlp import MLP, check_layers
from consilience.models.model import Params

if TYPE_CHECKING:
    import jax


@dataclass(frozen=True)
class NTKMLP:
    """x^{d+1} = φ(√(σ_w²/n_d) W^{d+1} x^d + σ_b b^{d+1}), n_d neurons in layer d, and a readout scaled likewise.

    Every weight and bias is drawn from N(0, 1); the factors, which are not trained, set the variances. Gradients then
    shrink with the width as activations do, so that the kernel of training neither vanishes nor explodes.

    Parameters: those of `MLP`.
    """

    depth: int
    width: int = 1024
    activation: str = "relu"
    weight_variance: float = 2.0
    bias_variance: float = 0.1

    def __post_init__(self) -> None:
        check_layers("ntk_mlp", self.depth, self.width, self.activation)
        if not (math.isfinite(self.weight_variance) and self.weight_variance > 0):
            raise InvalidSpec(
                f"ntk_mlp(weight_variance={self.weight_variance!r}): a network whose weights do not vary computes "
                "nothing. Write a positive number, 2.0 for ReLU or 1.0, say."
            )
        if not (math.isfinite(self.bias_variance) and self.bias_variance >= 0):
            raise InvalidSpec(
                f"ntk_mlp(bias_variance={self.bias_variance!r}): a variance is not negative. Write 0.0 for a network "
                "without biases, or 0.1, say."
            )

    @property
    def name(self) -> str:
        """For tables and file names."""
        return f"ntk_mlp(depth={self.depth}, width={self.width})"

    def init(self, key: jax.Array, input_shape: tuple[int, ...], num_outputs: int) -> Params:
        """Weights and biases of all layers, standard normal."""
        return self._network.init(key, input_shape, num_outputs)

    def apply(self, params: Params, inputs: jax.Array) -> jax.Array:
        """Outputs of shape (batch, outputs)."""
        return self._network.apply(self._scaled(params), inputs)

    def jacobian_factors(self, params: Params, inputs: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """The Jacobian of the outputs, layer by layer, as outer products; see `Model` and `MLP.jacobian_factors`."""
        factors = self._network.jacobian_factors(self._scaled(params), inputs)
        scales = [self._scales(read.shape[1] - 1) for read, _ in factors]
        return [
            (read.at[:, :-1].multiply(weight).at[:, -1].multiply(bias), sensitivity)
            for (weight, bias), (read, sensitivity) in zip(scales, factors, strict=True)
        ]

    @property
    def _network(self) -> MLP:
        return MLP(depth=self.depth, width=self.width, activation=self.activation, initialiser="normal")

    def _scales(self, fan_in: int) -> tuple[float, float]:
        """The factors of weights and biases of a layer."""
        return math.sqrt(self.weight_variance / fan_in), math.sqrt(self.bias_variance)

    def _scaled(self, params: Params) -> Params:
        """The parameters with which `MLP` computes the same outputs."""
        scaled = {}
        for name, layer in params.items():
            weight, bias = self._scales(layer["weight"].shape[1])
            scaled[name] = {"weight": weight * layer["weight"], "bias": bias * layer["bias"]}
        return scaled


def ntk_mlp(
    depth: int,
    width: int = 1024,
    *,
    activation: str = "relu",
    weight_variance: float = 2.0,
    bias_variance: float = 0.1,
) -> NTKMLP:
    """A fully-connected network in NTK parametrisation, whose training `theory.peer_to_peer` predicts.

    Args:
        depth: number of hidden layers; 0 is the affine model.
        width: neurons per hidden layer; errors of the predictions fall with it, measured about as 1/width.
        activation: "relu", "tanh", "erf", "sigmoid", "gelu" or "linear".
        weight_variance: σ_w² > 0. With 2, ReLU layers keep the size of their signals at any depth; for "erf" and "tanh"
            1 to 2 is usual.
        bias_variance: σ_b² ≥ 0. Without biases a ReLU network is homogeneous, blind to the brightness of an image but
            for a factor. A tenth cures that, and is small enough that the mode in which all outputs shift together,
            which grows with it, does not alone decide the largest stable learning rate. At 0 the biases are
            parameters of no effect.

    Raises:
        InvalidSpec: for a depth, width or variance that cannot be.
        UnknownName: for an activation that does not exist.

    Example:
        >>> import jax
        >>> model = ntk_mlp(depth=1, width=1024)
        >>> params = model.init(jax.random.key(0), (28, 28), 10)
        >>> model.apply(params, jax.numpy.zeros((3, 28, 28))).shape
        (3, 10)

    Source:
        Paper 003; the limit of infinite width is `theory.peer_to_peer.infinite_width_kernel`.
    """
    return NTKMLP(
        depth=depth,
        width=width,
        activation=activation,
        weight_variance=weight_variance,
        bias_variance=bias_variance,
    )
