"""Messages as bytes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consilience.messages import Sign, TopK, Weighted, decode, encode, from_bytes, num_bits


def message() -> dict[str, object]:
    return {
        "matrix": jnp.asarray([[1.5, -2.0], [0.0, np.inf]], jnp.float32),
        "flags": jnp.asarray([True, False, True, True, False, False, False, False, True]),
        "count": jnp.asarray(-3, jnp.int8),
        "weighted": Weighted({"signs": Sign().compress(jnp.asarray([1.0, -3.0]))}, jnp.asarray(0.25)),
        "nothing": jnp.zeros((0, 3)),
    }


def test_layout() -> None:
    """Leaf after leaf in the order of the pytree: numbers little-endian, booleans eight to a byte."""
    given = {
        "a": jnp.asarray([1.0], jnp.float32),
        "b": jnp.asarray([True, False, True]),
        "c": jnp.asarray([258], jnp.int32),
    }
    assert encode(given) == b"\x00\x00\x80\x3f" + b"\xa0" + b"\x02\x01\x00\x00"
    assert num_bits(given) == 72


def test_round_trip_keeps_structure_dtypes_and_values() -> None:
    given = message()
    back = from_bytes(encode(given), like=given)
    assert jax.tree.structure(back) == jax.tree.structure(given)
    for a, b in zip(jax.tree.leaves(given), jax.tree.leaves(back), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)


def test_only_shapes_are_needed_to_count() -> None:
    assert num_bits(jax.eval_shape(message)) == 8 * len(encode(message())) == 8 * (16 + 2 + 1 + 1 + 4 + 4)


def test_nan_and_negative_zero_survive() -> None:
    given = jnp.asarray([np.nan, -0.0], jnp.float32)
    assert np.asarray(given).tobytes() == np.asarray(from_bytes(encode(given), like=given)).tobytes()


@pytest.mark.parametrize("wrong", [b"", b"\x00" * 3, b"\x00" * 5])
def test_wrong_lengths_are_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="are no message like this one, which takes 4"):
        from_bytes(wrong, like=jnp.zeros(1, jnp.float32))


def test_decoding_leaves_plain_arrays() -> None:
    plain = {"a": jnp.arange(3.0), "b": (jnp.ones(2),)}
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, decode(plain), plain))


def test_weights_multiply_what_is_coded() -> None:
    total, weight = decode(Weighted({"a": TopK(0.5).compress(jnp.asarray([1.0, -4.0]))}, jnp.asarray(0.5)))
    assert total["a"].tolist() == [0.0, -2.0]
    assert float(weight) == 0.5
    assert total["a"].dtype == jnp.float32
