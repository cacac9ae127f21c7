"""Bits and gradients are counted on what methods emit, and what saves nothing is said."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import consilience as cs
from consilience.algorithms import AdaptThenCombine, ChocoSGD, FederatedAveraging, Isolated, ParallelSGD
from consilience.errors import IncompatiblePair, WastefulWarning
from consilience.graphs import Bernoulli, Periodic, RandomSubset, Schedules
from consilience.messages import QSGD, TopK, UnitSign, encode
from consilience.simulation import costs, message_bits
from registries import small_problem

PROBLEM = small_problem(4)
NUMBERS = 4 * 2  # of the problem's model: three features and a bias for each of two outputs
NOBODY = Periodic(np.eye(4, dtype=bool)[None])
RATE = {"learning_rate": 0.1}


def cost(algorithm: cs.algorithms.Algorithm, graph: cs.graphs.Graph | None = None, **options: object) -> tuple:
    experiment = PROBLEM.experiment(algorithm, graph=graph or cs.graphs.complete(4), num_rounds=3, **options)
    counted = costs(experiment)
    return counted.bits.tolist(), counted.gradients.tolist()


def test_links_carry_messages_both_ways() -> None:
    per_round = 8 * NUMBERS * 64  # a cycle of four agents has eight directed links
    bits, gradients = cost(AdaptThenCombine(**RATE, local_steps=2), cs.graphs.cycle(4))
    assert bits == [0, per_round, 2 * per_round, 3 * per_round]
    assert gradients == [0, 8, 16, 24]


def test_silence_costs_nothing() -> None:
    assert cost(Isolated(**RATE))[0] == [0, 0, 0, 0]
    assert cost(AdaptThenCombine(**RATE), cs.graphs.complete(4), schedules=Schedules(edges=NOBODY))[0] == [0, 0, 0, 0]


def test_a_server_hears_those_who_are_active_and_answers_them() -> None:
    up = down = NUMBERS * 64 + 64  # parameters and a weight
    everybody, _ = cost(FederatedAveraging(**RATE))
    assert everybody[1] == 4 * (up + down)
    some, gradients = cost(FederatedAveraging(**RATE), schedules=Schedules(active=RandomSubset(1, num_agents=4)))
    assert some[1:] == [up + down, 2 * (up + down), 3 * (up + down)]
    assert gradients == [0, 1, 2, 3]


def test_both_ways_of_a_server_may_be_compressed() -> None:
    bits, _ = cost(ParallelSGD(**RATE, compressor=UnitSign(), broadcast_compressor=UnitSign()))
    leaves = 8 + 8  # six weights and two biases, each filled up to a byte
    assert bits[1] == 4 * 2 * leaves


def test_links_that_fail_carry_nothing() -> None:
    links = Bernoulli(0.5, num_agents=4, seed=3, links=True)
    bits, _ = cost(AdaptThenCombine(**RATE), schedules=Schedules(edges=links))
    working = [int(np.asarray(links(round)).sum()) - 4 for round in range(3)]
    assert len(set(working)) > 1
    assert bits == [0, *(np.cumsum(working) * NUMBERS * 64).tolist()]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compressor", [TopK(0.3), QSGD(levels=3), UnitSign()], ids=repr)
def test_what_is_counted_is_the_length_of_an_encoded_message(compressor: cs.messages.Compressor, dtype: str) -> None:
    experiment = PROBLEM.experiment(
        ParallelSGD(**RATE, compressor=compressor), graph=cs.graphs.complete(4), dtype=dtype
    )
    with jax.enable_x64(dtype == "float64"):
        gradient = {name: jnp.asarray(leaf[0], dtype) for name, leaf in PROBLEM.initial_params.items()}
        message = compressor.compress(gradient, jax.random.key(1, impl="threefry2x32"))
        assert message_bits(experiment) == [8 * len(encode(message))]


def test_a_compressor_that_saves_nothing_is_said() -> None:
    with pytest.warns(WastefulWarning, match=r"compressor=TopK\(fraction=1.0\) makes messages of \d+ bits of .* 512"):
        cost(ChocoSGD(**RATE, compressor=TopK(1.0)))


def test_copies_need_every_message() -> None:
    with pytest.raises(
        IncompatiblePair, match="ChocoSGD cannot run here: the schedule of active lets messages be missed"
    ):
        cost(ChocoSGD(**RATE), schedules=Schedules(active=RandomSubset(2, num_agents=4)))


def test_weights_along_links_that_are_not_there_are_refused() -> None:
    merge = Schedules(mixing=cs.graphs.Merge(at_round=2, num_agents=4))
    with pytest.raises(IncompatiblePair, match=r"In round 2 .* between agents that cycle\(4\) does not link"):
        cost(AdaptThenCombine(**RATE), cs.graphs.cycle(4), schedules=merge)
    bits, _ = cost(AdaptThenCombine(**RATE), schedules=merge)
    assert bits == [0, 0, 0, 12 * NUMBERS * 64]
