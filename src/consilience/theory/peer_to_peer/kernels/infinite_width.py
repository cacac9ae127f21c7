"""The neural tangent kernel of a fully-connected network of infinite width, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName

Floats = NDArray[np.float64]

_BLOCK = 1 << 20
"""Kernel entries computed at a time: the dozen temporaries of a block take some 100 MB."""


def infinite_width_kernel(
    depth: int, activation: str = "relu", weight_variance: float = 2.0, bias_variance: float = 0.1
) -> InfiniteWidthKernel:
    """The kernel by which `models.ntk_mlp(depth, width, ...)` trains as its width goes to infinity.

    Args:
        depth: number of hidden layers; 0 is the affine model, whose kernel σ_w² x·x'/d + σ_b² is exact.
        activation: "relu", "erf" or "linear".
        weight_variance: σ_w² > 0, of every layer.
        bias_variance: σ_b² ≥ 0, of every layer.

    Returns:
        A function of samples: `kernel(x1, x2)`.

    Raises:
        InvalidSpec: for a depth or variance that cannot be.
        UnknownName: for an activation without a closed form.

    Example:
        >>> kernel = infinite_width_kernel(depth=1, activation="relu", weight_variance=2.0, bias_variance=0.0)
        >>> kernel([[1.0, 0.0], [0.0, 1.0]]).round(6).tolist()
        [[2.0, 0.31831], [0.31831, 2.0]]
    """
    return InfiniteWidthKernel(depth, activation, weight_variance, bias_variance)


@dataclass(frozen=True)
class InfiniteWidthKernel:
    """Θ(x, x') of an infinitely wide network, the same for every output; outputs do not mix.

    With Σ the covariance of what enters a layer's activations φ, E over (u, u') ~ N(0, Σ at (x, x')), from
    Θ = Σ = σ_w² x·x'/d + σ_b² on, each hidden layer takes

        Θ ← σ_w² E[φ(u) φ(u')] + σ_b² + σ_w² E[φ̇(u) φ̇(u')] Θ,      Σ ← σ_w² E[φ(u) φ(u')] + σ_b².

    Attributes:
        depth: number of hidden layers.
        activation: "relu", "erf" or "linear".
        weight_variance: σ_w².
        bias_variance: σ_b².

    Source:
        The expectations are arc-cosine kernels of orders 1 and 0 for ReLU (Cho and Saul, 2009), and an arc-sine for erf
        (Williams, 1997).
    """

    depth: int
    activation: str
    weight_variance: float
    bias_variance: float

    def __post_init__(self) -> None:
        if isinstance(self.depth, bool) or not isinstance(self.depth, (int, np.integer)) or self.depth < 0:
            raise InvalidSpec(f"depth={self.depth!r}: it counts hidden layers, from 0. Write depth=1, say.")
        if self.activation not in _EXPECTATIONS:
            raise UnknownName.among("activation with a kernel in closed form", self.activation, _EXPECTATIONS)
        for name, least in (("weight_variance", "positive"), ("bias_variance", "not negative")):
            value = getattr(self, name)
            if not (math.isfinite(value) and (value > 0 or (value == 0 and name == "bias_variance"))):
                raise InvalidSpec(f"{name}={value!r}: it is finite and {least}. Write {name}=0.1, say.")

    def __call__(self, x1: Any, x2: Any = None) -> Floats:
        """The neural tangent kernel Θ, by which gradient descent learns.

        Args:
            x1: shape (n1, ...); samples are flattened.
            x2: shape (n2, ...); `x1` if None, and the result is then exactly symmetric.

        Returns:
            Shape (n1, n2). Relative errors are of the order of 1e-15, but 1e-8 for ReLU between samples that are
            parallel to within 1e-8 and stand at different places: Θ has a cusp there.

        Raises:
            InvalidSpec: for samples that are no array of finite numbers.
            IncompatiblePair: if the samples of `x1` and `x2` differ in size.
        """
        return self._evaluate(x1, x2, 1)

    def covariance(self, x1: Any, x2: Any = None) -> Floats:
        """Σ, the covariance of an output at initialisation over draws of the parameters; as for the kernel."""
        return self._evaluate(x1, x2, 0)

    def _evaluate(self, x1: Any, x2: Any, which: int) -> Floats:
        rows = _samples("x1", x1)
        columns = rows if x2 is None else _samples("x2", x2)
        if rows.shape[1] != columns.shape[1]:
            raise IncompatiblePair(
                f"A sample of x1 has {rows.shape[1]} features and one of x2 {columns.shape[1]}; the same network sees "
                "both. Give samples of one shape."
            )
        variances = [self._affine(np.square(x).mean(axis=1)) for x in (rows, columns)]
        result = np.empty((len(rows), len(columns)))
        step = max(1, _BLOCK // max(1, len(columns)))
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            first = start if x2 is None else 0  # below the diagonal, symmetry serves
            inner = self._affine(rows[block] @ columns[first:].T / rows.shape[1])
            result[block, first:] = self._layers(inner, variances[0][block, None], variances[1][first:])[which]
        if x2 is None:
            _symmetrise(result, step)
            np.fill_diagonal(result, self._layers(variances[0], variances[0], variances[0])[which])
        return result

    def _affine(self, moment: Floats) -> Floats:
        return self.weight_variance * moment + self.bias_variance

    def _layers(self, inner: Floats, variance1: Floats, variance2: Floats) -> tuple[Floats, Floats]:
        """Σ and Θ of the outputs from Σ of the first layer: at pairs of samples, and at each with itself."""
        expectations = _EXPECTATIONS[self.activation]
        covariance, tangent = inner, inner
        for _ in range(self.depth):
            moment, slope = expectations(covariance, variance1, variance2)
            variance1, variance2 = (self._affine(expectations(v, v, v)[0]) for v in (variance1, variance2))
            covariance = self._affine(moment)
            tangent = covariance + self.weight_variance * slope * tangent
        return covariance, tangent


def _samples(name: str, values: Any) -> Floats:
    """`values` as rows."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.ndim < 2 or 0 in array.shape:
        raise InvalidSpec(
            f"{name} has shape {array.shape} and type {array.dtype}; a kernel is between samples, (samples, ...), of "
            "real numbers. Write x[None] for a single sample."
        )
    rows = array.reshape(len(array), -1).astype(np.float64)
    if not np.isfinite(rows).all():
        raise InvalidSpec(f"{name} holds values that are not finite. Drop those samples, or replace the values.")
    return rows


def _symmetrise(matrix: Floats, step: int) -> None:
    """Write the upper triangle into the lower one, blocks of `step` rows at a time."""
    for start in range(0, len(matrix), step):
        block = slice(start, start + step)
        matrix[start + step :, block] = matrix[block, start + step :].T
        square = matrix[block, block]
        square[...] = np.triu(square) + np.triu(square, 1).T


def _relu(inner: Floats, variance1: Floats, variance2: Floats) -> tuple[Floats, Floats]:
    """E[φ(u) φ(u')] and E[φ̇(u) φ̇(u')], arc-cosine kernels; √(v·v) is v to the last bit, hence exact on the diagonal."""
    size = np.sqrt(variance1 * variance2)
    cosine = np.divide(inner, size, out=np.zeros_like(size), where=size > 0)
    np.clip(cosine, -1.0, 1.0, out=cosine)
    obtuse = np.pi - np.arccos(cosine)
    moment = size * (np.sqrt((1.0 - cosine) * (1.0 + cosine)) + obtuse * cosine)
    return moment / (2 * np.pi), obtuse / (2 * np.pi)


def _erf(inner: Floats, variance1: Floats, variance2: Floats) -> tuple[Floats, Floats]:
    size = 1.0 + 2.0 * (variance1 + variance2) + 4.0 * variance1 * variance2
    moment = np.arcsin(np.clip(2.0 * inner / np.sqrt(size), -1.0, 1.0)) * (2 / np.pi)
    determinant = 1.0 + 2.0 * (variance1 + variance2) + 4.0 * np.maximum(variance1 * variance2 - inner**2, 0.0)
    return moment, (4 / np.pi) / np.sqrt(determinant)


def _linear(inner: Floats, variance1: Floats, variance2: Floats) -> tuple[Floats, Floats]:
    return inner, np.ones_like(inner)


_EXPECTATIONS = {"relu": _relu, "erf": _erf, "linear": _linear}
