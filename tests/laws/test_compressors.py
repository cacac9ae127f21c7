"""What every compressor must satisfy: contraction, unbiasedness, bits that are counted, an exact way through bytes."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience.errors import InvalidSpec
from consilience.messages import (
    COMPRESSORS,
    QSGD,
    Compressor,
    EvenSteps,
    Identity,
    LowRank,
    Majority,
    RandomK,
    Sign,
    Ternary,
    TopK,
    UnitSign,
    decode,
    encode,
    from_bytes,
    make_compressor,
    num_bits,
)
from consilience.messages.compressors import randomly_rounded
from consilience.messages.packing import bits_for, pack, unpack

EVERY: tuple[Compressor, ...] = (
    Identity(),
    TopK(0.3),
    TopK(0.02),
    RandomK(0.3),
    RandomK(0.6, unbiased=True),
    Sign(),
    UnitSign(),
    Majority(),
    EvenSteps(8),
    QSGD(levels=1),
    QSGD(levels=100),
    Ternary(),
    Ternary(clipping=None),
    LowRank(1),
)
SHAPES = ((1,), (4, 3), (150,))
"""One number, a matrix, and an array whose places and levels do not fill their last byte."""
DTYPES = (np.float32, np.float64)
DRAWS = 4000

every_compressor = pytest.mark.parametrize("compressor", EVERY, ids=repr)
every_dtype = pytest.mark.parametrize(
    "dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)], ids=lambda dtype: dtype.__name__
)


def key(seed: int) -> jax.Array:
    return jax.random.key(seed, impl="threefry2x32")


def drawn(shape: tuple[int, ...], *, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    """Of both signs, over several orders of magnitude."""
    random = np.random.default_rng(seed)
    return np.asarray(random.normal(size=shape) * 10.0 ** random.integers(-2, 2, size=shape), dtype)


TWELVE = tuple(drawn((12,)).tolist())


@functools.cache
def outcomes(compressor: Compressor, numbers: tuple[float, ...]) -> np.ndarray:
    """What arrives in independent draws, in double precision, shape (draws, numbers)."""
    with jax.enable_x64(True):
        x = jnp.asarray(numbers)
        return np.asarray(jax.vmap(lambda own: decode(compressor.compress(x, own)))(jax.random.split(key(1), DRAWS)))


# ---- bytes -------------------------------------------------------------------------------------------------------


@every_dtype
@every_compressor
def test_messages_survive_their_way_through_bytes(compressor: Compressor, dtype: Any) -> None:
    with jax.enable_x64(dtype == np.float64):
        tree = {str(shape): jnp.asarray(drawn(shape, dtype=dtype)) for shape in SHAPES}
        compress = jax.jit(compressor.compress)
        message = compress(tree, key(2))
        data = encode(message)
        assert num_bits(message) == 8 * len(data)
        assert num_bits(jax.eval_shape(lambda: compressor.compress(tree, key(2)))) == 8 * len(data)
        back = from_bytes(data, like=jax.tree.map(jnp.zeros_like, message))
        assert encode(back) == data
        arrived, rebuilt = jax.jit(decode)(message), jax.jit(decode)(back)
        for name, array in arrived.items():
            assert array.shape == tree[name].shape
            assert array.dtype == dtype
            np.testing.assert_array_equal(np.asarray(rebuilt[name]), np.asarray(array))
        if not isinstance(compressor, (UnitSign, Majority, EvenSteps)):
            zeros = jax.jit(decode)(compress(jax.tree.map(jnp.zeros_like, tree), key(3)))
            assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(zeros)), "zeros do not stay zeros"


@pytest.mark.parametrize(
    ("compressor", "bits"),
    [
        (Identity(), 32 * 4096),
        (TopK(0.01), 41 * (32 + 12) + 4),  # ⌈0.01 · 4096⌉ numbers and places, the last byte filled up
        (TopK(0.5), 2048 * 32 + 4096),  # a mask is shorter than 2048 places
        (RandomK(0.25), 1024 * 32 + 64),
        (Sign(), 4096 + 32),
        (UnitSign(), 4096),
        (Majority(), 4096),
        (EvenSteps(8), 4 * 4096),
        (QSGD(levels=7), 4 * 4096 + 32),
        (Ternary(), 2 * 4096 + 32),
        (LowRank(2), 2 * (64 + 64) * 32),
    ],
    ids=repr,
)
def test_bits_of_4096_numbers_in_single_precision(compressor: Compressor, bits: int) -> None:
    matrix = jnp.asarray(drawn((64, 64), dtype=np.float32))
    assert num_bits(jax.eval_shape(lambda: compressor.compress(matrix, key(4)))) == bits


def test_single_and_double_precision_draw_alike() -> None:
    x = drawn((50,), dtype=np.float32)
    for compressor in (RandomK(0.3), QSGD(levels=5), Ternary()):
        arrived = []
        for dtype in DTYPES:
            with jax.enable_x64(dtype == np.float64):
                there = jax.jit(lambda array, own, c=compressor: decode(c.compress(array, own)))
                arrived.append(np.asarray(there(jnp.asarray(x, dtype), key(5))))
        # The same places and levels; norms and products are rounded in single precision, 1e-7 each.
        np.testing.assert_allclose(arrived[0], arrived[1], rtol=1e-5)


@pytest.mark.parametrize("num_bits", [1, 3, 8, 13, 32])
def test_packing_is_undone_by_unpacking(num_bits: int) -> None:
    packed_and_back = jax.jit(lambda values: (p := pack(values, num_bits), unpack(p, num_bits, len(values))))

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.integers(0, 2**num_bits - 1), min_size=11, max_size=11))
    def law(values: list[int]) -> None:
        packed, back = packed_and_back(np.asarray(values, np.uint32))
        assert back.tolist() == values
        bits = "".join(f"{value:0{num_bits}b}" for value in values)
        assert "".join(f"{byte:08b}" for byte in packed.tolist()) == bits + "0" * (-len(bits) % 8)

    law()


@given(st.integers(1, 10**9))
def test_bits_tell_values_apart(num_values: int) -> None:
    bits = bits_for(num_values)
    assert 2**bits >= num_values
    assert bits == 1 or 2 ** (bits - 1) < num_values


# ---- contraction -------------------------------------------------------------------------------------------------

DETERMINISTIC = (Identity(), TopK(0.3), TopK(0.02), Sign())


@jax.jit
def there_and_back(x: jax.Array) -> list[jax.Array]:
    return [decode(compressor.compress(x)) for compressor in DETERMINISTIC]


numbers = st.lists(st.floats(-1e3, 1e3, width=32), min_size=12, max_size=12)


@settings(max_examples=50, deadline=None)
@given(numbers)
def test_deterministic_compressors_contract(values: list[float]) -> None:
    """‖C(x) − x‖² ≤ (1 − δ) ‖x‖², for the worst x that can be found."""
    x = np.asarray(values, np.float32)
    for compressor, arrived in zip(DETERMINISTIC, there_and_back(x), strict=True):
        error = ((np.asarray(arrived, float) - x) ** 2).sum()
        # Relative rounding of single precision, some ten times.
        assert error <= (1 - compressor.contraction(12)) * (x.astype(float) ** 2).sum() * (1 + 1e-5) + 1e-30


@pytest.mark.parametrize("compressor", [c for c in EVERY if c.contraction(12) > 0], ids=repr)
def test_compressors_contract_in_the_mean(compressor: Compressor) -> None:
    """Null: E‖C(x) − x‖² ≤ (1 − δ)‖x‖². Refused beyond 4 standard errors, which by chance happens once in 30,000."""
    errors = ((outcomes(compressor, TWELVE) - drawn((12,))) ** 2).sum(axis=1)
    bound = (1 - compressor.contraction(12)) * (drawn((12,)) ** 2).sum()
    assert errors.mean() <= bound + 4 * errors.std() / DRAWS**0.5 + 1e-12


def test_random_k_contracts_exactly_as_it_says() -> None:
    errors = ((outcomes(RandomK(0.3), TWELVE) - drawn((12,))) ** 2).sum(axis=1)
    expected = (1 - RandomK(0.3).contraction(12)) * (drawn((12,)) ** 2).sum()
    assert abs(errors.mean() - expected) < 4 * errors.std() / DRAWS**0.5


def test_signs_contract_exactly_as_the_paper_says() -> None:
    """1 − ‖x‖₁² / (n ‖x‖₂²)."""
    with jax.enable_x64(True):
        x = drawn((12,))
        error = ((np.asarray(decode(Sign().compress(jnp.asarray(x)))) - x) ** 2).sum()
    # Some ten operations on numbers up to a hundred.
    assert abs(error - ((x**2).sum() - np.abs(x).sum() ** 2 / 12)) < 1e-10


def test_a_projection_never_adds_to_the_error() -> None:
    matrix = drawn((6, 5))
    with jax.enable_x64(True):
        for seed in range(5):
            arrived = np.asarray(decode(LowRank(2).compress(jnp.asarray(matrix), key(seed))))
            assert ((arrived - matrix) ** 2).sum() <= (matrix**2).sum()
            assert np.linalg.matrix_rank(arrived) == 2
        low = matrix[:, :2] @ matrix[:2]
        # Two columns and their products in double precision.
        np.testing.assert_allclose(decode(LowRank(2).compress(jnp.asarray(low), key(6))), low, atol=1e-10)


# ---- means -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressor", [c for c in EVERY if c.is_unbiased], ids=repr)
def test_unbiased_compressors_keep_the_mean(compressor: Compressor) -> None:
    """Null: E C(x) = x. Refused beyond 4.5 standard errors of any of 12 numbers (by chance once in 10,000 tests)."""
    # Of one order of magnitude, so that no number is drawn so rarely that its error cannot be told from the draws.
    x = np.random.default_rng(1).uniform(0.5, 2, size=12) * np.array([1, -1] * 6)
    arrived = outcomes(compressor, tuple(x.tolist()))
    errors = arrived.std(axis=0) / DRAWS**0.5
    assert (np.abs(arrived.mean(axis=0) - x) <= 4.5 * errors + 1e-12).all()


def test_clipping_keeps_the_mean_of_what_is_clipped() -> None:
    x = drawn((12,))
    bound = 1.5 * (x**2).mean() ** 0.5
    assert (np.abs(x) > bound).any()
    arrived = outcomes(Ternary(clipping=1.5), TWELVE)
    assert np.abs(arrived).max() == pytest.approx(bound)
    errors = arrived.std(axis=0) / DRAWS**0.5
    assert (np.abs(arrived.mean(axis=0) - np.clip(x, -bound, bound)) <= 4.5 * errors + 1e-12).all()


def test_clipping_leaves_single_numbers() -> None:
    assert decode(Ternary().compress(jnp.array([-0.3]), key(0))).tolist() == [pytest.approx(-0.3)]


def test_whole_numbers_are_not_rounded() -> None:
    whole = jnp.arange(-200, 200, dtype=jnp.float32)
    for seed in range(50):
        np.testing.assert_array_equal(randomly_rounded(whole, key(seed)), whole)


def test_random_rounding_goes_up_as_often_as_it_should() -> None:
    """Null: up with probability 0.25. Refused beyond 4 standard errors."""
    rounded = np.asarray(randomly_rounded(jnp.full(DRAWS, -1.75), key(7)))
    assert set(rounded.tolist()) == {-2.0, -1.0}
    assert abs((rounded == -1).mean() - 0.25) < 4 * (0.25 * 0.75 / DRAWS) ** 0.5


def test_ties_of_a_majority_are_drawn_and_others_are_not() -> None:
    """Null: + as often as −. Refused beyond 4 standard errors. Rounding of the mean does not decide a tie."""
    means = jnp.concatenate([jnp.full(DRAWS, 1e-9, jnp.float32), jnp.asarray([1 / 9, -1 / 9], jnp.float32)])
    votes = np.asarray(decode(Majority().compress(means, key(8))))
    assert set(votes.tolist()) == {-1.0, 1.0}
    assert votes[-2:].tolist() == [1.0, -1.0]
    assert abs(votes[:-2].mean()) < 4 / DRAWS**0.5


@pytest.mark.parametrize("num_agents", [1, 3, 8])
def test_even_steps_are_exact_for_means_of_votes(num_agents: int) -> None:
    means = (2 * np.arange(num_agents + 1) - num_agents) / num_agents
    with jax.enable_x64(True):
        message = EvenSteps(num_agents).compress(jnp.asarray(means))
        np.testing.assert_array_equal(np.asarray(decode(message)), means)
    assert num_bits(message) == 8 * -(-len(means) * num_agents.bit_length() // 8)


# ---- names and errors --------------------------------------------------------------------------------------------

SETTINGS: dict[str, dict[str, Any]] = {
    "top_k": {"fraction": 0.1},
    "random_k": {"fraction": 0.1},
    "qsgd": {"levels": 3},
    "low_rank": {"rank": 2},
    "even_steps": {"num_steps": 3},
}


def test_every_compressor_has_a_name_and_is_tested() -> None:
    assert {type(compressor) for compressor in EVERY} == set(COMPRESSORS.values())
    for name, kind in COMPRESSORS.items():
        assert type(make_compressor({"name": name, **SETTINGS.get(name, {})})) is kind


@pytest.mark.parametrize(
    "make",
    [
        lambda: TopK(0.0),
        lambda: TopK(1.5),
        lambda: RandomK(True),
        lambda: QSGD(levels=0),
        lambda: QSGD(levels=2**15),
        lambda: Ternary(clipping=0.0),
        lambda: LowRank(0),
        lambda: EvenSteps(0),
    ],
)
def test_impossible_settings_are_refused_with_the_way_out(make: Any) -> None:
    with pytest.raises(InvalidSpec, match="Write "):
        make()
