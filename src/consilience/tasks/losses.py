"""Losses per sample. Means over mini-batches and over test sets are taken by whoever asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from consilience.errors import InvalidSpec, UnknownName

if TYPE_CHECKING:
    import jax


@runtime_checkable
class Loss(Protocol):
    """What a task asks of its loss: a callable with a name.

    The name stands for the loss in the identity of every result, so a loss with parameters puts them into its name.
    """

    @property
    def name(self) -> str:
        """The loss in one word, unique among the losses that one store has seen."""
        ...

    def __call__(self, outputs: Any, targets: Any) -> jax.Array:
        """Loss of each sample, shape (batch,), from outputs (batch, outputs) and the targets of the batch."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of a softmax, −log softmax(outputs)[label], in nats.

    Called with outputs (batch, classes), the logits, and integer labels (batch,); returns (batch,). The largest logit
    is subtracted first, so logits of any finite size neither overflow nor drown a small loss in rounding.

    Raises:
        InvalidSpec: the targets are not integers.

    Example:
        >>> import numpy as np
        >>> loss = CrossEntropy()(np.array([[0.0, 0.0], [1e4, -1e4]]), np.array([0, 1]))
        >>> [round(float(value), 3) for value in loss]
        [0.693, 20000.0]
    """

    name = "cross_entropy"
    needs_classes = True

    def __call__(self, outputs: Any, targets: Any) -> jax.Array:
        """Loss of each sample, shape (batch,)."""
        import jax
        import jax.numpy as jnp

        outputs, targets = jnp.asarray(outputs), jnp.asarray(targets)
        if not jnp.issubdtype(targets.dtype, jnp.integer):
            raise InvalidSpec(
                f"Cross-entropy was called with targets of type {targets.dtype}: it needs the index of the right class "
                "of each sample. Give integer labels, or use SquaredLoss() for real-valued targets."
            )
        shifted = outputs - jax.lax.stop_gradient(outputs.max(axis=-1, keepdims=True))
        # Adding zeros to the logit of the right class is exact, and faster than looking it up: the gradient of a
        # look-up is a scatter, which XLA compiles to a loop over samples.
        is_right = targets[..., None] == jnp.arange(outputs.shape[-1])
        right = jnp.where(is_right, shifted, 0).sum(axis=-1)
        return jnp.log(jnp.exp(shifted).sum(axis=-1)) - right


@dataclass(frozen=True)
class SquaredLoss:
    """Half the squared distance to the target, ½ Σ (output − target)², summed over the outputs.

    The half is the convention of the theory of wide networks, L(θ) = (1/2n) Σ (f(x, θ) − y)²: the gradient with respect
    to an output is the residual itself. Called with outputs (batch, outputs) and targets of the same shape; returns
    (batch,). Integer targets (batch,) are class labels and stand for one-hot vectors.

    Raises:
        InvalidSpec: outputs and targets differ in shape.

    Example:
        >>> import numpy as np
        >>> SquaredLoss()(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]])).tolist()
        [2.5]
    """

    name = "squared"
    needs_classes = False

    def __call__(self, outputs: Any, targets: Any) -> jax.Array:
        """Loss of each sample, shape (batch,)."""
        import jax
        import jax.numpy as jnp

        outputs, targets = jnp.asarray(outputs), jnp.asarray(targets)
        if jnp.issubdtype(targets.dtype, jnp.integer) and targets.ndim == outputs.ndim - 1:
            targets = jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype)
        if outputs.shape != targets.shape:
            raise InvalidSpec(
                f"The squared loss was called with outputs of shape {outputs.shape} and targets of shape "
                f"{targets.shape}: each output is compared with its own target, and broadcasting would compare them "
                "with others'. Give the model as many outputs as the task has targets (task.num_outputs)."
            )
        return 0.5 * jnp.square(outputs - targets.astype(outputs.dtype)).sum(axis=-1)


LOSSES: dict[str, type[CrossEntropy] | type[SquaredLoss]] = {
    CrossEntropy.name: CrossEntropy,
    SquaredLoss.name: SquaredLoss,
}


def by_name(name: str) -> Loss:
    """The loss registered under `name`: "cross_entropy" or "squared".

    Raises:
        UnknownName: no loss has that name.

    Example:
        >>> by_name("squared")
        SquaredLoss()
    """
    if name not in LOSSES:
        raise UnknownName.among("loss", name, LOSSES)
    return LOSSES[name]()
