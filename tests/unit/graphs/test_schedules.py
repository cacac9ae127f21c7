"""Schedules are pure functions of the round, the same in both precisions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consilience.errors import InvalidSpec
from consilience.graphs import Bernoulli, Interpolated, Periodic, RandomSubset


@pytest.mark.parametrize(
    "schedule",
    [Bernoulli(0.5, num_agents=20), Bernoulli(0.5, num_agents=20, links=True), RandomSubset(7, num_agents=20)],
)
def test_draws_do_not_depend_on_precision(schedule):
    values = []
    for wide in (False, True):
        with jax.enable_x64(wide):
            values.append(np.asarray(jax.jit(lambda round: schedule(round))(3)))
    np.testing.assert_array_equal(*values)


def test_links_work_both_ways_and_the_diagonal_always():
    links = np.asarray(Bernoulli(0.3, num_agents=12, seed=1, links=True)(5))
    np.testing.assert_array_equal(links, links.T)
    assert links.diagonal().all()
    assert not links.all()


def test_rounds_and_seeds_draw_differently_and_at_the_right_rate():
    schedule = Bernoulli(0.3, num_agents=200)
    draws = np.stack([np.asarray(schedule(round)) for round in range(50)])
    # 10,000 coins: five standard errors of the mean are 0.023.
    assert abs(draws.mean() - 0.3) < 0.023
    assert (draws[0] != draws[1]).any()
    assert (draws[0] != np.asarray(Bernoulli(0.3, num_agents=200, seed=1)(0))).any()


def test_random_subset_has_the_size_it_says_and_those_who_always_take_part():
    schedule = RandomSubset(3, num_agents=10, always=(0, 9))
    for round in range(20):
        active = np.asarray(schedule(round))
        assert active.sum() == 5
        assert active[0]
        assert active[9]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bernoulli(1.5, num_agents=3),
        lambda: RandomSubset(4, num_agents=3),
        lambda: RandomSubset(3, num_agents=3, always=(0,)),
        lambda: Periodic(np.ones(3)),
    ],
)
def test_impossible_schedules_are_refused(make):
    with pytest.raises(InvalidSpec):
        make()


# ---- tables ------------------------------------------------------------------------------------------------------

TABLE = Interpolated(rounds=(2, 5, 6, 20), values=(0.0, 3.0, 0.5, 0.25))
TIMES = (-1, 0, 2, 3, 5, 5.25, 6, 13.5, 20, 1000)


def test_tables_are_piecewise_linear_in_both_precisions_and_traced_or_not():
    """As NumPy interpolates; for whole rounds that JAX traces, and for times of the theory."""
    whole = [round for round in TIMES if isinstance(round, int)]
    # One division and three products of numbers of order ten.
    for wide, tolerance in ((False, 1e-5), (True, 1e-14)):
        with jax.enable_x64(wide):
            for times in (TIMES, np.asarray(TIMES), np.asarray(whole)):
                values = [TABLE(time) for time in times]
                assert {(value.shape, value.dtype) for value in values} == {((), jnp.result_type(float))}
                np.testing.assert_allclose(values, np.interp(times, TABLE.rounds, TABLE.values), atol=tolerance)
            traced = jax.jit(jax.vmap(lambda round: TABLE(round)))(jnp.asarray(whole))
            np.testing.assert_allclose(traced, np.interp(whole, TABLE.rounds, TABLE.values), atol=tolerance)
            assert traced.dtype == jnp.result_type(float)


def test_tables_of_one_entry_and_of_equal_entries_are_constant_to_the_bit():
    for table in (Interpolated((3,), (0.1,)), Interpolated((0, 7, 9), (0.1, 0.1, 0.1))):
        with jax.enable_x64(True):
            assert {float(table(round)) for round in (0, 1, 3, 8, 100)} == {0.1}


def test_tables_are_plain_values_that_compare():
    table = Interpolated(rounds=np.arange(2), values=[1, np.float32(0.5)])
    assert (table.rounds, table.values) == ((0.0, 1.0), (1.0, 0.5))
    assert all(type(number) is float for number in table.rounds + table.values)
    assert table == Interpolated((0, 1), (1, 0.5)) != Interpolated((0, 1), (1, 0.25))
    assert hash(table) == hash(Interpolated((0, 1), (1, 0.5)))


@pytest.mark.parametrize(
    ("rounds", "values", "complaint"),
    [
        ((), (), r"rounds=\(\)\): rounds is one row of finite numbers"),
        ((0, 1), (1,), "got 2 rounds and 1 values"),
        ((0, 5, 5), (1, 2, 3), "round 5 does not come after round 5"),
        ((0, 5, 3), (1, 2, 3), "round 3 does not come after round 5"),
        ((0, math.inf), (1, 2), r"rounds=\(0, inf\)\): rounds is one row"),
        ((0, 1), (1, math.nan), r"values=\(1, nan\)\): values is one row"),
        ((0, 1), (1, -0.5), "-0.5 is negative"),
        (0, 1, "rounds=0"),
        ([[0, 1]], [[1, 1]], "rounds is one row"),
        ("ab", (1, 2), "rounds='ab'"),
        ((0, 1), (1, 1j), r"values=\(1, 1j\)"),
    ],
)
def test_impossible_tables_are_refused(rounds, values, complaint):
    with pytest.raises(InvalidSpec, match=complaint) as error:
        Interpolated(rounds, values)
    assert "\n" not in str(error.value)
