"""All numbers, in a few bits each."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from consilience.errors import InvalidSpec
from consilience.messages.coding import Coded
from consilience.messages.compressors.compressor import Compressor
from consilience.messages.packing import bits_for, pack, unpack


class Signs(Coded):
    """The sign of every number in one bit, 0 counting as positive, and one size for all."""

    positive: jax.Array
    """Booleans."""
    size: jax.Array | None
    """Shape (); `None` for 1, which does not travel."""
    dtype: Any = eqx.field(static=True)

    @classmethod
    def of(cls, array: jax.Array, size: jax.Array | None) -> Signs:
        """The signs of `array`, times a size."""
        return cls(array >= 0, size, array.dtype)

    def decode(self) -> jax.Array:
        """± size."""
        size = jnp.ones((), self.dtype) if self.size is None else self.size
        return jnp.where(self.positive, size, -size)


class Levels(Coded):
    """Every number as a multiple −s … s of a unit, in ⌈log₂(2s + 1)⌉ bits."""

    levels: jax.Array
    """Whole numbers, of the dtype of the array."""
    unit: jax.Array
    """Shape ()."""
    num_levels: int = eqx.field(static=True)

    def decode(self) -> jax.Array:
        """Level times unit."""
        return self.unit * self.levels

    def pack(self) -> Any:
        """Levels counted from the lowest, and the unit."""
        shifted = (self.levels + self.num_levels).reshape(-1)
        return pack(shifted, bits_for(2 * self.num_levels + 1)), self.unit

    def unpack(self, packed: Any) -> Levels:
        """Levels counted from zero again."""
        coded, unit = packed
        shape, dtype = self.levels.shape, self.levels.dtype
        shifted = unpack(jnp.asarray(coded), bits_for(2 * self.num_levels + 1), math.prod(shape))
        return Levels(shifted.astype(dtype).reshape(shape) - self.num_levels, unit, self.num_levels)


class Steps(Coded):
    """Numbers from −1 to 1 as whole numbers of even steps from −1."""

    steps: jax.Array
    """Whole numbers, of the dtype of the array."""
    num_steps: int = eqx.field(static=True)

    def decode(self) -> jax.Array:
        """−1 + 2 k / n, the same to the last bit wherever it is decoded."""
        return (2 * self.steps - self.num_steps) / self.num_steps

    def pack(self) -> Any:
        """Steps in few bits."""
        return pack(self.steps.reshape(-1), bits_for(self.num_steps + 1))

    def unpack(self, packed: Any) -> Steps:
        """Steps as numbers again."""
        shape = self.steps.shape
        steps = unpack(jnp.asarray(packed), bits_for(self.num_steps + 1), math.prod(shape))
        return Steps(steps.astype(self.steps.dtype).reshape(shape), self.num_steps)


def randomly_rounded(array: jax.Array, key: jax.Array) -> jax.Array:
    """The whole number below or above, at random, so that the mean is the number; of the same dtype.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> randomly_rounded(jnp.array([-3.0, 0.0, 7.0]), jax.random.key(0, impl="threefry2x32")).tolist()
        [-3.0, 0.0, 7.0]
    """
    # 24 bits in either precision: both draw the same numbers, which single precision holds without rounding them to 1.
    uniform = (jax.random.bits(key, array.shape, jnp.uint32) >> 8).astype(array.dtype) * 2.0**-24
    below = jnp.floor(array)
    return below + (uniform < array - below)


class Sign(Compressor):
    """The sign of every number, times the mean magnitude: one bit each.

    Source:
        J. Bernstein et al., signSGD, ICML 2018 [bernstein2018]; with the mean magnitude, S. P. Karimireddy et al.,
        Error feedback fixes SignSGD, ICML 2019 [karimireddy2019].

    Example:
        >>> import jax.numpy as jnp
        >>> from consilience.messages import num_bits
        >>> num_bits(Sign().compress(jnp.ones(800, jnp.float32)))   # and 32 for the magnitude
        832
    """

    def code(self, array: jax.Array, key: Any) -> Any:
        """The signs, and the mean magnitude."""
        return Signs.of(array, jnp.abs(array).mean())

    def contraction(self, size: int) -> float:
        """1/n: exactly ‖x‖₁²/(n‖x‖₂²), which is smallest if one number holds all."""
        return 1 / size


class UnitSign(Compressor):
    """The sign of every number, ±1: one bit each and nothing else. What was large or small does not travel.

    Source:
        J. Bernstein et al., signSGD, ICML 2018, Algorithm 1 [bernstein2018].

    Example:
        >>> import jax.numpy as jnp
        >>> from consilience.messages import num_bits
        >>> num_bits(UnitSign().compress(jnp.ones(800, jnp.float32)))
        800
    """

    def code(self, array: jax.Array, key: Any) -> Any:
        """The signs."""
        return Signs.of(array, None)

    def contraction(self, size: int) -> float:
        """0: small numbers become large ones."""
        return 0.0


class Majority(Compressor):
    """What most votes say, ±1 in one bit, of a mean of votes ±1: what a server sends that counts them.

    A tie is drawn, since one that always counted as + would push all parameters one way.

    Source:
        J. Bernstein et al., signSGD, ICML 2018, Algorithm 3 [bernstein2018].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from consilience.messages import decode
        >>> key = jax.random.key(0, impl="threefry2x32")
        >>> decode(Majority().compress(jnp.array([0.5, -1.0, 0.25]), key)).tolist()
        [1.0, -1.0, 1.0]
    """

    def code(self, array: jax.Array, key: Any) -> Any:
        """The signs; drawn where as many said + as −."""
        # A mean of votes is 0 but for rounding, or at least one over their number.
        tied = jnp.abs(array) < float(jnp.finfo(array.dtype).eps) ** 0.5
        coin = jnp.where(jax.random.bits(key, array.shape, jnp.uint32) >> 31, 1, -1).astype(array.dtype)
        return Signs.of(jnp.where(tied, coin, array), None)

    def contraction(self, size: int) -> float:
        """0: a narrow majority becomes unanimous."""
        return 0.0


class EvenSteps(Compressor):
    """Numbers from −1 to 1 rounded to −1, −1 + 2/n, …, 1: exact for a mean of n votes ±1, in ⌈log₂(n + 1)⌉ bits.

    Attributes:
        num_steps: n ≥ 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from consilience.messages import decode, num_bits
        >>> sent = EvenSteps(3).compress(jnp.array([1.0, -1 / 3, 1 / 3, -1.0]))
        >>> [round(x, 3) for x in decode(sent).tolist()], num_bits(sent)
        ([1.0, -0.333, 0.333, -1.0], 8)
    """

    num_steps: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        if isinstance(self.num_steps, bool) or not isinstance(self.num_steps, int) or self.num_steps < 1:
            raise InvalidSpec(
                f"EvenSteps(num_steps={self.num_steps!r}): the way from −1 to 1 is divided into a whole number of "
                "steps, as many as agents vote. Write num_steps=8, say."
            )

    def code(self, array: jax.Array, key: Any) -> Any:
        """How many steps each number is above −1."""
        steps = jnp.clip(jnp.round((array + 1) * (self.num_steps / 2)), 0, self.num_steps)
        return Steps(steps, self.num_steps)

    def contraction(self, size: int) -> float:
        """0: numbers beyond 1 are cut back to it."""
        return 0.0


class QSGD(Compressor):
    """Every number rounded at random to a multiple of ‖x‖/s, so that the mean is the number.

    Source:
        D. Alistarh et al., QSGD: communication-efficient SGD via gradient quantization and encoding, NeurIPS 2017,
        Eq. (3) [alistarh2017], with levels in a fixed number of bits.

    Attributes:
        levels: s ≥ 1: the levels of one sign; ⌈log₂(2s + 1)⌉ bits for each number.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from consilience.messages import num_bits
        >>> key = jax.random.key(0, impl="threefry2x32")
        >>> num_bits(QSGD(levels=7).compress(jnp.ones(800, jnp.float32), key))   # 4 bits each, and the norm
        3232
    """

    levels: int = eqx.field(static=True)
    is_unbiased = True

    def __check_init__(self) -> None:
        if isinstance(self.levels, bool) or not isinstance(self.levels, int) or not 1 <= self.levels < 2**15:
            raise InvalidSpec(
                f"QSGD(levels={self.levels!r}): levels are counted in whole numbers from 1, and beyond 2¹⁵ nothing is "
                "saved. Write levels=7 for 4 bits, or levels=127 for 8."
            )

    def code(self, array: jax.Array, key: Any) -> Any:
        """Levels, and the norm over s as their unit."""
        unit = jnp.linalg.norm(array.reshape(-1)) / self.levels
        scaled = array / jnp.where(unit > 0, unit, 1)
        # Rounding may leave |x|/‖x‖ above 1, and the level above s, by one ulp.
        levels = jnp.clip(randomly_rounded(scaled, key), -self.levels, self.levels)
        return Levels(levels, unit, self.levels)

    def contraction(self, size: int) -> float:
        """max(0, 1 − ω) with the variance ω = min(n/s², √n/s) of Lemma 3.1."""
        s = self.levels
        return max(0.0, 1 - min(size / s**2, size**0.5 / s))


class Ternary(Compressor):
    """−s, 0 or s at random with s = max |x|, so that the mean is the number: two bits each.

    Source:
        W. Wen et al., TernGrad: ternary gradients to reduce communication in distributed deep learning, NeurIPS 2017,
        Eqs. (1)–(2), (9) [wen2017].

    Attributes:
        clipping: numbers beyond so many standard deviations are first cut back to there, which keeps s small, and the
            mean only of what is within; `None` for no clipping. Deviations are about 0, or arrays of one number, or of
            equal ones, would be cut back to nothing.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from consilience.messages import decode
        >>> key = jax.random.key(0, impl="threefry2x32")
        >>> sorted({abs(x) for x in decode(Ternary(clipping=None).compress(jnp.array([2.0, -1.0, 0.0]), key)).tolist()})
        [0.0, 2.0]
    """

    clipping: float | None = eqx.field(static=True, default=2.5)

    def __check_init__(self) -> None:
        if self.clipping is not None and not self.clipping > 0:
            raise InvalidSpec(
                f"Ternary(clipping={self.clipping!r}): numbers are cut back to so many standard deviations, which must "
                "be more than 0. Write clipping=2.5, or clipping=None for none."
            )

    @property
    def is_unbiased(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of what clipping leaves."""
        return self.clipping is None

    def code(self, array: jax.Array, key: Any) -> Any:
        """The signs of those that are drawn, and the largest magnitude."""
        if self.clipping is not None:
            bound = self.clipping * jnp.sqrt((array**2).mean())
            array = jnp.clip(array, -bound, bound)
        largest = jnp.abs(array).max()
        drawn = randomly_rounded(jnp.abs(array) / jnp.where(largest > 0, largest, 1), key)
        return Levels(jnp.sign(array) * drawn, largest, 1)

    def contraction(self, size: int) -> float:
        """0: E‖C(x) − x‖² = Σ |x|(s − |x|) may exceed ‖x‖²."""
        return 1.0 if size == 1 and self.clipping is None else 0.0
