"""A small convolutional network, written as patches times matrix.

A population holds one set of filters per agent and replica, and a vectorised convolution lowers to a grouped
convolution, which is slow on CPUs. Cutting the image into patches makes it a matrix product, which is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consilience.errors import InvalidSpec
from consilience.models.initialisers import check_initialiser, dense_layer
from consilience.models.model import Params

if TYPE_CHECKING:
    import jax


def patches(images: jax.Array, size: int, stride: int = 1) -> jax.Array:
    """All size×size patches of a batch of images ("valid" borders), flattened.

    Args:
        images: shape (batch, height, width, channels).
        size: side of a patch, in pixels.
        stride: pixels between neighbouring patches.

    Returns:
        Shape (batch, rows, columns, size · size · channels), with (height − size) // stride + 1 rows of patches.

    Example:
        >>> import jax.numpy as jnp
        >>> patches(jnp.zeros((2, 28, 28, 1)), 5, stride=2).shape
        (2, 12, 12, 25)
    """
    import jax.numpy as jnp

    last_row, last_column = images.shape[1] - size, images.shape[2] - size
    shifted = [
        images[:, row : row + last_row + 1 : stride, column : column + last_column + 1 : stride, :]
        for row in range(size)
        for column in range(size)
    ]
    return jnp.concatenate(shifted, axis=-1)


@dataclass(frozen=True)
class ConvolutionalNetwork:
    """[convolution k×k with a stride → ReLU] for each entry of `channels`, then a linear readout.

    Strides take the place of pooling, which costs more than the convolutions when every agent has its own filters.
    Parameters: {"conv_0": {"weight": (channels_out, k·k·channels_in), "bias": ...}, ..., "readout": ...}.
    """

    channels: tuple[int, ...] = (8, 16)
    kernel_size: int = 5
    stride: int = 2
    initialiser: str = "he"

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1 or self.kernel_size < 1 or self.stride < 1:
            raise InvalidSpec(
                f"cnn(channels={self.channels}, kernel_size={self.kernel_size}, stride={self.stride}): it needs at "
                "least one convolution with at least one channel, and a kernel and a stride of at least one pixel. "
                "Write cnn(channels=(8, 16))."
            )
        check_initialiser(self.initialiser)

    @property
    def name(self) -> str:
        """For tables and file names."""
        return f"cnn(channels={self.channels}, kernel_size={self.kernel_size}, stride={self.stride})"

    def _sizes(self, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Height, width and channels in front of the readout."""
        if len(input_shape) not in (2, 3):
            raise InvalidSpec(
                f"{self.name} got inputs of shape {input_shape}; it needs images, (height, width) or (height, width, "
                "channels). Use mlp(...) for other inputs."
            )
        height, width, channels = (*input_shape, 1)[:3]
        for out in self.channels:
            if height < self.kernel_size or width < self.kernel_size:
                raise self._too_small(input_shape)
            height, width = (1 + (side - self.kernel_size) // self.stride for side in (height, width))
            channels = out
        return height, width, channels

    def _too_small(self, input_shape: tuple[int, ...]) -> InvalidSpec:
        return InvalidSpec(
            f"{self.name} shrinks images of shape {input_shape} to nothing. Use fewer convolutions or a smaller "
            "kernel, cnn(channels=(8,), kernel_size=3), say."
        )

    def init(self, key: jax.Array, input_shape: tuple[int, ...], num_outputs: int) -> Params:
        """Filters of all convolutions and the readout."""
        import jax

        height, width, channels = self._sizes(input_shape)
        fan_in = (*input_shape, 1)[2]
        params = {}
        for d, out in enumerate(self.channels):
            layer_key = jax.random.fold_in(key, d)
            params[f"conv_{d}"] = dense_layer(self.initialiser, layer_key, self.kernel_size**2 * fan_in, out)
            fan_in = out
        readout_key = jax.random.fold_in(key, len(self.channels))
        size = math.prod((height, width, channels))
        return {**params, "readout": dense_layer(self.initialiser, readout_key, size, num_outputs)}

    def apply(self, params: Params, inputs: jax.Array) -> jax.Array:
        """Outputs of shape (batch, outputs)."""
        import jax

        hidden = inputs if inputs.ndim == 4 else inputs[..., None]
        for d in range(len(self.channels)):
            layer = params[f"conv_{d}"]
            hidden = jax.nn.relu(patches(hidden, self.kernel_size, self.stride) @ layer["weight"].T + layer["bias"])
        return hidden.reshape(hidden.shape[0], -1) @ params["readout"]["weight"].T + params["readout"]["bias"]


def cnn(
    channels: tuple[int, ...] = (8, 16), *, kernel_size: int = 5, stride: int = 2, initialiser: str = "he"
) -> ConvolutionalNetwork:
    """A small convolutional network for images.

    Args:
        channels: filters of each convolution; each is followed by ReLU.
        kernel_size: side of the filters, in pixels.
        stride: pixels between neighbouring applications of the filters.
        initialiser: "he" by default. With "normal", the paper's N(0, 1), activations grow by the square root of the
            fan-in at each layer, and the test loss starts in the hundreds.

    Raises:
        InvalidSpec: for an empty network, and at initialisation for inputs that are not images or are too small.

    Example:
        >>> import jax
        >>> model = cnn((8, 16))
        >>> params = model.init(jax.random.key(0), (32, 32, 3), 10)
        >>> model.apply(params, jax.numpy.zeros((5, 32, 32, 3))).shape
        (5, 10)
    """
    return ConvolutionalNetwork(
        channels=tuple(channels), kernel_size=kernel_size, stride=stride, initialiser=initialiser
    )
