"""Triggers: one decision per round, for all links or for a schedule of mixing, the same in both precisions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consilience import graphs
from consilience.errors import InvalidSpec
from consilience.graphs.gossip import OnePeerExponential
from consilience.graphs.schedules import Periodic
from consilience.graphs.triggers import Early, EveryRounds, Late, WithProbability

N, ROUNDS = 5, 60
TRIGGERS = [EveryRounds(3, N), WithProbability(0.4, N, seed=3), Early(7, N), Late(4, N)]
each = pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: type(trigger).__name__)


def values(schedule, rounds=ROUNDS):
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.arange(rounds)))


@each
def test_all_links_work_or_none_and_the_diagonal_always(trigger):
    links = values(trigger)
    assert links.dtype == bool
    assert {int(one.sum()) for one in links} == {N, N * N}
    assert links[:, np.arange(N), np.arange(N)].all()


@each
def test_mixing_is_let_through_in_the_same_rounds(trigger):
    inner = OnePeerExponential(N)
    gated = type(trigger)(**{**trigger.__dict__, "mixing": inner})
    works, mixing, given = values(trigger).all(axis=(1, 2)), values(gated), values(inner)
    np.testing.assert_array_equal(mixing, np.where(works[:, None, None], given, np.eye(N)))
    assert mixing.dtype == given.dtype


@each
def test_triggers_do_not_depend_on_precision(trigger):
    seen = []
    for wide in (False, True):
        with jax.enable_x64(wide):
            seen.append(values(trigger))
    np.testing.assert_array_equal(*seen)


def test_the_rounds_that_work():
    rounds = np.arange(ROUNDS)
    works = [values(trigger).all(axis=(1, 2)) for trigger in TRIGGERS]
    np.testing.assert_array_equal(works[0], rounds % 3 == 2)
    np.testing.assert_array_equal(works[2], rounds < 7)
    np.testing.assert_array_equal(works[3], rounds >= 4)


def test_the_coin_has_its_probability_and_its_seed():
    """Null: a coin of 0.4 in each of 2000 rounds; five standard errors √(0.4 · 0.6/2000) are 0.055. Seeds 3 and 4."""
    tossed = [values(WithProbability(0.4, 2, seed=seed), 2000).all(axis=(1, 2)) for seed in (3, 4)]
    for one in tossed:
        assert abs(one.mean() - 0.4) < 0.055
    assert (tossed[0] != tossed[1]).any()
    assert not values(WithProbability(0.0, 2), 50).all(axis=(1, 2)).any()


def test_a_trigger_of_a_trigger_takes_both_decisions():
    mixing = Periodic(graphs.uniform(N).weights[None])
    both = values(Late(6, N, mixing=EveryRounds(2, N, mixing=mixing)))
    rounds = np.arange(ROUNDS)
    np.testing.assert_array_equal((both != np.eye(N)).any(axis=(1, 2)), (rounds >= 6) & (rounds % 2 == 1))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: EveryRounds(0, N), "period=0"),
        (lambda: EveryRounds(2, 0), "num_agents=0"),
        (lambda: WithProbability(1.5, N), "probability=1.5"),
        (lambda: WithProbability(0.5, N, seed=-1), "seed=-1"),
        (lambda: Early(-1, N), "until=-1"),
        (lambda: Late(1.5, N), "start=1.5"),
        (lambda: Late(1, N, mixing=graphs.uniform(N)), "no function of the round"),
    ],
)
def test_impossible_triggers_are_refused(make, complaint):
    with pytest.raises(InvalidSpec, match=complaint) as error:
        make()
    assert "\n" not in str(error.value)
