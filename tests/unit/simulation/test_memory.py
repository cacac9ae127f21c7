"""Blocks that do not fit into memory are refused before they run, with what would fit."""

from __future__ import annotations

import re

import jax
import pytest

import consilience as cs
from consilience.errors import InvalidSpec, NotEnoughMemory
from consilience.experiments import resolve_sweep
from consilience.simulation import Placement
from consilience.simulation.memory import check_memory, free_bytes
from registries import small_problem

METHOD = cs.algorithms.DGD(learning_rate=0.1)


def test_free_memory_is_known_here_and_plausible() -> None:
    free = free_bytes(Placement())
    if free is None:
        pytest.skip("this system does not say how much memory is free")
    assert 2**20 < free < 2**50
    both = free_bytes(Placement(tuple(2 * jax.local_devices()[:1])))  # two devices of one machine share it
    assert both is not None
    assert both == pytest.approx(free / 2, rel=0.2)  # other processes come and go meanwhile


@pytest.mark.parametrize(
    ("needed", "free", "advice"),
    [
        (4000 * 2**20, 1000 * 2**20, "4.*3.9 GB more memory, and 1000 MB are free. 1 would fit: write max_replicas=1"),
        (4000 * 2**20, 500 * 2**20, "Not even one replica fits; one of about 3 agents would"),
    ],
)
def test_what_is_said(needed: int, free: int, advice: str) -> None:
    experiment = small_problem(6, sizes=[2] * 6).experiment(METHOD, graph=cs.graphs.complete(6))
    with pytest.raises(NotEnoughMemory, match=advice):
        check_memory(needed, free, experiment=experiment, num_replicas=4, num_devices=1)
    check_memory(free, free, experiment=experiment, num_replicas=4, num_devices=1)
    check_memory(needed, None, experiment=experiment, num_replicas=4, num_devices=1)


def test_a_population_beyond_all_memory_is_refused_at_once() -> None:
    task = cs.tasks.load("digits", num_train=200, num_test=20)
    with pytest.raises(NotEnoughMemory, match=re.escape("200 agents with 75,000,010 parameters each need")):
        cs.simulate(
            METHOD,
            model=cs.models.mlp(depth=1, width=1_000_000),
            task=task,
            shards=cs.tasks.iid(task, num_agents=200),
            graph=cs.graphs.complete(200),
            num_rounds=1,
        )


def test_a_program_that_does_not_fit_is_refused_when_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    # More than the parameters need before anything is compiled, 768 bytes, and less than the rounds do, 1321.
    monkeypatch.setattr("consilience.simulation.ensemble.free_bytes", lambda _: 1000)
    with pytest.raises(NotEnoughMemory, match=r"max_replicas|agents would"):
        small_problem(4).simulate(METHOD)


def test_the_user_may_ask_for_smaller_or_larger_blocks() -> None:
    problem = small_problem(4)
    parts = {"model": problem.model, "task": problem.task, "shards": problem.shards, "num_rounds": 1, "observe": []}

    def sizes(**options: int) -> list[int]:
        swept = resolve_sweep(
            cs.algorithms.DGD(learning_rate=0.1), over={"learning_rate": [k / 100 for k in range(1, 21)]},
            graph=cs.graphs.complete(4), **parts, **options,
        )  # fmt: skip
        return [len(block.cells) for block in swept.blocks]

    assert sizes() == [7, 7, 6]
    assert sizes(max_replicas=2) == [2] * 10
    assert sizes(max_replicas=32) == [20]
    with pytest.raises(InvalidSpec, match="max_replicas=0"):
        sizes(max_replicas=0)
