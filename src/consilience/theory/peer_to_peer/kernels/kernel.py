"""The empirical neural tangent kernel of a network, computed in blocks: never more of the Jacobian than fits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.theory.peer_to_peer.kernels.jacobians import (
    Factors,
    Floats,
    Jacobian,
    batch_size,
    jacobian,
    jacobian_products,
    samples,
)

__all__ = ["check_fits", "jacobian_products", "kernel"]


def kernel(model: Any, params: Any, x1: Any, x2: Any = None, *, max_memory: float = 8e9) -> Floats:
    """K[(i, c), (j, d)] = ∇f_c(x1_i) · ∇f_d(x2_j), gradients with respect to all parameters, in double precision.

    A network whose parameters move little learns by this kernel alone. Models that offer `jacobian_factors`, such as
    `ntk_mlp` and `mlp`, cost as much as matrix products of the width; others as much as those of their number of
    parameters, and their Jacobian is computed again where it does not fit.

    Args:
        model: a model of `cs.models` or an equinox module.
        params: θ, one agent's parameters, a pytree. Cast to double precision.
        x1: shape (n1, ...).
        x2: shape (n2, ...); `x1` if None, and the result is then exactly symmetric.
        max_memory: bytes that the result and what is needed to compute it may take.

    Returns:
        Shape (n1, outputs, n2, outputs).

    Raises:
        InvalidSpec: if the result does not fit; for a model that is not differentiable, or does not depend on its
            parameters; for derivatives that are not finite.
        IncompatiblePair: if parameters and inputs do not fit.

    Example:
        >>> import jax, numpy as np
        >>> from consilience import models
        >>> model = models.ntk_mlp(depth=0, weight_variance=3.0, bias_variance=0.5)     # affine: K is exact
        >>> params = model.init(jax.random.key(0), (3,), 1)
        >>> kernel(model, params, np.eye(3))[:, 0, :, 0].round(12).tolist()
        [[1.5, 0.5, 0.5], [0.5, 1.5, 0.5], [0.5, 0.5, 1.5]]

    Source:
        Paper 003, H_q = J_qᵀJ_q/n_q, as K = J Jᵀ.
    """
    import jax

    with jax.enable_x64(True):
        rows = samples("x1", x1)
        columns = None if x2 is None else samples("x2", x2)
        if columns is not None and columns.shape[1:] != rows.shape[1:]:
            raise IncompatiblePair(
                f"A sample of x1 has shape {rows.shape[1:]} and one of x2 {columns.shape[1:]}; the same network sees "
                "both. Reshape one of them."
            )
        tangent = jacobian(model, params, rows)
        num_columns = len(rows if columns is None else columns)
        check_fits(len(rows), num_columns, tangent.num_outputs, max_memory)
        plan = _plan(tangent, len(rows), num_columns, max_memory)
        result = np.empty((len(rows), tangent.num_outputs, num_columns, tangent.num_outputs))
        for block in _slices(0, len(rows), plan.rows):
            if columns is None:
                _fill_symmetric(result, tangent, rows, plan, block)
            else:
                _fill(result, tangent, rows, columns, plan, block)
        _check_depends(result, tangent, rows)
    return result


def check_fits(num_samples1: int, num_samples2: int, num_outputs: int, max_memory: float) -> None:
    """`InvalidSpec` if a kernel between so many samples takes more than `max_memory` bytes.

    Example:
        >>> check_fits(100_000, 100_000, 1, 8e9)
        Traceback (most recent call last):
        ...
        consilience.errors.InvalidSpec: A kernel between 100000 samples of 1 output takes 80 GB, more than max_memory...
    """
    if not (math.isfinite(max_memory) and max_memory > 0):
        raise InvalidSpec(f"max_memory={max_memory!r}: it is a number of bytes. Write max_memory=8e9 for 8 GB.")
    needed = 8 * num_outputs**2 * num_samples1 * num_samples2
    if needed <= max_memory:
        return
    if num_samples1 == num_samples2:
        between, fit = f"{num_samples1} samples", f"{math.isqrt(int(max_memory / 8)) // num_outputs} samples"
    else:
        between = f"{num_samples1} and {num_samples2} samples"
        fit = f"{int(max_memory / (8 * num_outputs**2 * num_samples2))} samples against {num_samples2}"
    raise InvalidSpec(
        f"A kernel between {between} of {num_outputs} output{'s' * (num_outputs > 1)} takes {_bytes(needed)}, more "
        f"than max_memory={max_memory:g} ({_bytes(max_memory)}); {fit} would fit. Use fewer samples or outputs, or "
        f"write max_memory={_rounded_up(needed):g} if the computer has it; or leave the choice to "
        "peer_to_peer.predict, which does without the kernel where it does not fit."
    )


@dataclass(frozen=True)
class _Plan:
    """How a kernel is computed: factors of `rows` samples are held, against `batch` at a time."""

    rows: int
    batch: int


def _plan(tangent: Jacobian, num_rows: int, num_columns: int, max_memory: float) -> _Plan:
    """The largest blocks for which everything fits beside the result."""
    entries = 8 * tangent.num_outputs**2
    # Twice θ: in double precision, and as what a model makes of it.
    available = max_memory - entries * num_rows * num_columns - 2 * tangent.params_bytes
    per_batch = 4 * tangent.sample_bytes  # the factors, and what JAX needs to compute them
    batch = batch_size(max(num_rows, num_columns))
    while batch > 1 and batch * per_batch > available / 4:
        batch //= 2
    per_row = tangent.sample_bytes + 3 * entries * batch  # with three products of a row block and a batch
    rows = int((available - batch * per_batch) // per_row)
    if rows < 1:
        needed = max_memory - available + batch * per_batch + per_row
        raise InvalidSpec(
            f"The kernel of model {tangent.model.name!r} between {num_rows} and {num_columns} samples takes "
            f"{_bytes(needed)} with the derivatives of a single sample, more than max_memory={max_memory:g} "
            f"({_bytes(max_memory)}). Write max_memory={_rounded_up(needed):g} if the computer has it, or use fewer "
            "samples, fewer outputs or a smaller network."
        )
    return _Plan(rows=min(rows, num_rows), batch=batch)


def _fill(result: Floats, tangent: Jacobian, x1: NDArray[Any], x2: NDArray[Any], plan: _Plan, rows: slice) -> None:
    """The given rows of a kernel between two sets."""
    held = tangent.at(x1[rows], plan.batch)
    for columns in _slices(0, len(x2), plan.batch):
        result[rows, :, columns] = _product(held, tangent.at(x2[columns], plan.batch))
        _check_finite(result, rows, columns)


def _fill_symmetric(result: Floats, tangent: Jacobian, x: NDArray[Any], plan: _Plan, rows: slice) -> None:
    """The given rows of a kernel within a set, from the diagonal on, and their transpose, the same columns."""
    held = tangent.at(x[rows], plan.batch)
    for columns in _slices(rows.start, rows.stop, plan.batch):
        below = slice(columns.start, rows.stop)
        first, last = columns.start - rows.start, columns.stop - rows.start
        block = _product(_part(held, slice(first, None)), _part(held, slice(first, last)))
        square = block[: last - first]
        square[...] = (square + _transposed(square)) / 2
        result[below, :, columns] = block
        result[columns, :, below] = _transposed(block)
        _check_finite(result, below, columns)
    for columns in _slices(rows.stop, len(x), plan.batch):
        block = _product(held, tangent.at(x[columns], plan.batch))
        result[rows, :, columns] = block
        result[columns, :, rows] = _transposed(block)
        _check_finite(result, rows, columns)


def _product(rows: Factors, columns: Factors) -> Floats:
    """Inner products of gradients, shape (samples, outputs, samples, outputs)."""
    total = np.float64(0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused with a reason, below
        for (read1, sensitivity1), (read2, sensitivity2) in zip(rows, columns, strict=True):
            part = _gram(sensitivity1, sensitivity2)
            if read1 is not None and read2 is not None:
                part *= _gram(read1[:, None], read2[:, None])
            total = np.add(total, part, out=part)
    return np.asarray(total)


def _gram(s1: Floats, s2: Floats) -> Floats:
    size = s1.shape[2]
    return (s1.reshape(-1, size) @ s2.reshape(-1, size).T).reshape(*s1.shape[:2], *s2.shape[:2])


def _part(factors: Factors, chosen: slice) -> Factors:
    return [(None if read is None else read[chosen], sensitivity[chosen]) for read, sensitivity in factors]


def _transposed(block: Floats) -> Floats:
    return block.transpose(2, 3, 0, 1)


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    return (slice(first, min(first + step, stop)) for first in range(start, stop, step))


def _check_finite(result: Floats, rows: slice, columns: slice) -> None:
    is_finite = np.isfinite(result[rows, :, columns])
    if not is_finite.all():
        i, _, j, _ = np.argwhere(~is_finite)[0]
        raise InvalidSpec(
            f"The kernel between samples {rows.start + i} and {columns.start + j} is not finite: an input, a parameter "
            "or a derivative of the outputs there is NaN, or too large to be squared. Drop samples and parameters that "
            "are not finite, and look for roots, logarithms or quotients at zero in the model's `apply`."
        )


def _check_depends(result: Floats, tangent: Jacobian, x: NDArray[Any]) -> None:
    """Refuses a model all of whose derivatives vanish: no kernel between some samples is zero for that alone."""
    if result.any() or any(s.any() for batch in _slices(0, len(x), 1) for _, s in tangent.at(x[batch], 1)):
        return
    raise InvalidSpec(
        f"All derivatives of the outputs of model {tangent.model.name!r} with respect to its parameters are zero, so "
        "that no gradient would ever train it. Rounding, signs, comparisons, arg-max and stop_gradient have this "
        "effect; so have inputs that are all zero in a network without biases. Replace them by smooth functions."
    )


def _bytes(count: float) -> str:
    """12.3 GB, say; decimal, as `max_memory`."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} bytes"


def _rounded_up(count: float) -> float:
    """To two digits."""
    unit = 10.0 ** (math.floor(math.log10(count)) - 1)
    return math.ceil(count / unit) * unit
