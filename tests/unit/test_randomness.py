"""Keys are pure functions of what they are for."""

import jax
import numpy as np
import pytest

from consilience.errors import InvalidSpec
from consilience.randomness import MAX_SEED, Purpose, check_seed, generator, key


def test_keys_differ_by_seed_purpose_and_counters():
    bits = {
        tuple(np.asarray(jax.random.key_data(k)).tolist())
        for k in (
            key(0, Purpose.AGENT, 1, 2),
            key(1, Purpose.AGENT, 1, 2),
            key(0, Purpose.SHARED, 1, 2),
            key(0, Purpose.AGENT, 2, 1),
            key(0, Purpose.AGENT, 1),
        )
    }
    assert len(bits) == 5


def test_keys_do_not_depend_on_the_precision_flag():
    with jax.enable_x64(True):
        wide = np.asarray(jax.random.key_data(key(MAX_SEED, Purpose.AGENT, 3)))
    with jax.enable_x64(False):
        narrow = np.asarray(jax.random.key_data(key(np.uint32(MAX_SEED), Purpose.AGENT, 3)))
    np.testing.assert_array_equal(wide, narrow)


def test_purposes_keep_their_numbers():
    # They are part of the identity of stored results.
    assert [purpose.value for purpose in Purpose] == list(range(11))


def test_host_generators_are_reproducible():
    draws = generator(5, Purpose.BATCH_ORDER, 1, 2).integers(2**31, size=4)
    np.testing.assert_array_equal(draws, generator(5, Purpose.BATCH_ORDER, 1, 2).integers(2**31, size=4))
    assert (draws != generator(5, Purpose.BATCH_ORDER, 2, 1).integers(2**31, size=4)).any()


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 0.5, True, "0"])
def test_seeds_are_whole_numbers_in_range(seed):
    with pytest.raises(InvalidSpec, match="whole number"):
        check_seed(seed)
