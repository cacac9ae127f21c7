"""Arnoldi's method: the eigenvalues that show first, of a map that is only applied, never formed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consilience.theory.peer_to_peer.arguments import Floats

_BREAKDOWN = 1e-12
"""What may be left of a vector that lies in the space already, relative to the longest Av so far: rounding."""


@dataclass(frozen=True, eq=False)
class KrylovSpace:
    """The span of x, Ax, A²x, … and what A does within it.

    Attributes:
        basis: orthonormal rows, shape (steps, size); the first is x/‖x‖.
        projection: A in this basis, shape (steps, steps), upper Hessenberg.
        leak: how much of A times the last basis vector leaves the space; 0 if the space is invariant.
    """

    basis: Floats
    projection: Floats
    leak: float

    def eigenpairs(self) -> tuple[NDArray[np.complex128], NDArray[np.complex128], Floats]:
        """Approximate eigenvalues (steps,), eigenvectors in this basis (columns), residuals ‖Av − λv‖ (steps,)."""
        values, vectors = np.linalg.eig(self.projection)
        return values.astype(complex), vectors.astype(complex), self.leak * np.abs(vectors[-1])


def krylov_space(
    apply: Callable[[Floats], Floats],
    start: Floats,
    num_steps: int,
    *,
    is_enough: Callable[[KrylovSpace], bool] = lambda space: False,
    check_every: int = 25,
) -> KrylovSpace:
    """Arnoldi's method, which is Lanczos' for a symmetric A, with full orthogonalisation.

    Args:
        apply: x → A x, shapes (size,).
        start: x ≠ 0, shape (size,).
        num_steps: dimension of the space at most.
        is_enough: asked every `check_every` steps whether to stop.
        check_every: steps.

    Example:
        >>> space = krylov_space(lambda x: np.array([1.0, 2.0, 3.0]) * x, np.ones(3), 10)
        >>> len(space.basis), sorted(space.eigenpairs()[0].real.round(12).tolist())
        (3, [1.0, 2.0, 3.0])
    """
    num_steps = min(num_steps, start.size)
    basis, projection = np.empty((num_steps, start.size)), np.zeros((num_steps + 1, num_steps))
    basis[0] = start / np.linalg.norm(start)
    longest = 0.0
    for step in range(num_steps):
        image = apply(basis[step])
        longest = max(longest, float(np.linalg.norm(image)))
        for _ in range(2):  # the second pass removes what rounding left of the first
            inner = basis[: step + 1] @ image
            image = image - inner @ basis[: step + 1]
            projection[: step + 1, step] += inner
        leak = float(np.linalg.norm(image))
        size = step + 1
        is_invariant = leak <= _BREAKDOWN * longest
        is_last = size == num_steps or is_invariant
        if is_last or size % check_every == 0:
            space = KrylovSpace(basis[:size], projection[:size, :size], 0.0 if is_invariant else leak)
            if is_last or is_enough(space):
                return space
        projection[size, step] = leak
        basis[size] = image / leak
    raise AssertionError("the last step returns")
