"""What memories promise: nothing is lost, and what settles is known exactly."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consilience.messages import (
    QSGD,
    Compressor,
    Differences,
    ErrorFeedback,
    LowRank,
    NoMemory,
    RandomK,
    Sign,
    TopK,
    decode,
)

# Thirty sums of numbers of order one in double precision.
ROUNDING = 1e-12
ROUNDS = 30


def key(seed: int) -> jax.Array:
    return jax.random.key(seed, impl="threefry2x32")


def quantities(num_rounds: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    return [{"a": random.normal(size=(4, 3)), "b": random.normal(size=5)} for _ in range(num_rounds)]


def total(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.sum(leaves, axis=0), *trees)


def assert_close(actual: Any, expected: Any, tolerance: float = ROUNDING) -> None:
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("compressor", [TopK(0.2), RandomK(0.3), Sign(), QSGD(levels=2), LowRank(1)], ids=repr)
def test_error_feedback_loses_nothing(compressor: Compressor) -> None:
    """What was decoded, and what is kept, is what was given."""
    with jax.enable_x64(True):
        memory, given, decoded = ErrorFeedback(), quantities(ROUNDS), []
        state = memory.init(jax.tree.map(jnp.asarray, given[0]))
        for round, value in enumerate(given):
            state, message = memory.send(state, value, compressor, key(round))
            decoded.append(decode(message))
            assert_close(jax.tree.map(jnp.add, total(decoded), state), total(given[: round + 1]))
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(state)) > 0.1, "nothing was left out"
        state, received = memory.receive(state, decoded[0])
        assert_close(received, decoded[0])


@pytest.mark.parametrize("compressor", [TopK(0.2), RandomK(0.3), Sign()], ids=repr)
def test_differences_follow_what_settles(compressor: Compressor) -> None:
    """‖x − h‖² shrinks by 1 − δ per round in the mean: after 300 rounds with δ ≥ 1/12 by 1e-11."""
    with jax.enable_x64(True):
        memory, (value,) = Differences(), quantities(1)
        like = jax.tree.map(jnp.asarray, value)

        def one_round(state: Any, own: jax.Array) -> tuple[Any, None]:
            state, message = memory.send(state, like, compressor, own)
            return memory.receive(state, decode(message))[0], None

        state, _ = jax.lax.scan(one_round, memory.init(like), jax.random.split(key(0), 300))
        assert_close(state["own"], value, tolerance=1e-5)
        assert_close(state["mixed"], value, tolerance=1e-5)


def test_receivers_know_the_mean_of_the_copies() -> None:
    """Three agents: what is received is Σ_j w_j h_j, though only compressed differences travelled."""
    with jax.enable_x64(True):
        memory, weights = Differences(), np.array([0.2, 0.3, 0.5])
        agents = [memory.init(jax.tree.map(jnp.asarray, value)) for value in quantities(3)]
        receiver = agents[0]
        for round in range(4):
            messages = []
            for agent, value in enumerate(quantities(3 * round + 3)[-3:]):
                agents[agent], message = memory.send(agents[agent], value, TopK(0.3), key(round))
                messages.append(decode(message))
            mixed = jax.tree.map(lambda *m: sum(w * leaf for w, leaf in zip(weights, m, strict=True)), *messages)
            receiver, follows = memory.receive(receiver, mixed)
            copies = [state["own"] for state in agents]
            expected = jax.tree.map(lambda *h: sum(w * leaf for w, leaf in zip(weights, h, strict=True)), *copies)
            assert_close(follows, expected)


def test_no_memory_is_the_compressor_alone() -> None:
    value = {"a": jnp.array([1.0, -4.0, 2.0])}
    state, message = NoMemory().send((), value, TopK(0.3), None)
    assert state == ()
    assert decode(message)["a"].tolist() == [0.0, -4.0, 0.0]
