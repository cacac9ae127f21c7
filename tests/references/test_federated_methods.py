"""SCAFFOLD and FedProx, derived again in NumPy, with agents that do not always take part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consilience import graphs
from consilience.algorithms.fed_prox import FedProx
from consilience.algorithms.scaffold import Scaffold
from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.simulation import run_ensemble
from quadratics import as_quadratics, ends, stacked, states_of
from registries import ROUNDING, assert_simulator_equals_oracle, small_problem

ETA, DECAY, STEPS, ROUNDS = 0.1, 0.05, 3, 5
PROBLEM = small_problem(3, common_init=True)
QUADRATICS = as_quadratics(PROBLEM, weight_decay=DECAY)
COMPLETE = graphs.complete(3)
ACTIVE = np.array([[True, True, False], [False, True, True], [False, False, False], [True, True, True]])
SCHEDULES = graphs.Schedules(active=graphs.Periodic(ACTIVE))
RATES: dict[str, Any] = {"learning_rate": ETA, "weight_decay": DECAY, "local_steps": STEPS}

# What the issue asks for; a few rounds of double precision leave 1e-14.
TOLERANCE = 1e-10


def local_steps(agent: int, theta: np.ndarray, extra: Any) -> np.ndarray:
    """Steps along the agent's gradient and something `extra` that may depend on where it is."""
    for _ in range(STEPS):
        gradient = QUADRATICS.hessians[agent] @ theta - QUADRATICS.pulls[agent]
        theta = theta - ETA * (gradient + extra(theta))
    return theta


def test_scaffold_as_in_the_paper() -> None:
    """Option II as it is printed, from differences of models: c_i' = c_i − c + (θ − θ_i)/(Kη)."""
    theta, server_rate = QUADRATICS.start[0], 0.8
    control, own = np.zeros_like(theta), [np.zeros_like(theta)] * 3
    for t in range(ROUNDS):
        participants = np.flatnonzero(ACTIVE[t % 4])
        if not len(participants):
            continue
        models, new = {}, list(own)
        for i in participants:
            models[i] = local_steps(i, theta, lambda _, i=i, c=control: c - own[i])  # noqa: B023
            new[i] = own[i] - control + (theta - models[i]) / (STEPS * ETA)
        theta = theta + server_rate * np.mean([models[i] - theta for i in participants], axis=0)
        share = len(participants) / 3
        control = control + share * np.mean([new[i] - own[i] for i in participants], axis=0)
        own = new
    algorithm = Scaffold(**RATES, server_rate=server_rate)
    run = PROBLEM.simulate(algorithm, graph=COMPLETE, schedules=SCHEDULES, num_rounds=ROUNDS)
    np.testing.assert_allclose(ends(run), np.stack(3 * [theta]), atol=TOLERANCE)


def test_fed_prox_as_in_the_paper() -> None:
    """∇(L_i + μ/2 ‖θ_i − θ‖²) = ∇L_i + μ (θ_i − θ), with a sign, and means weighted by shard sizes."""
    theta, mu = QUADRATICS.start[0], 0.7
    for t in range(ROUNDS):
        participants = np.flatnonzero(ACTIVE[t % 4])
        if len(participants):
            models = [local_steps(i, theta, lambda at, start=theta: mu * (at - start)) for i in participants]
            theta = np.average(models, axis=0, weights=QUADRATICS.sizes[participants])
    run = PROBLEM.simulate(FedProx(**RATES, proximity=mu), graph=COMPLETE, schedules=SCHEDULES, num_rounds=ROUNDS)
    np.testing.assert_allclose(ends(run), np.stack(3 * [theta]), atol=TOLERANCE)


def test_the_global_control_is_the_mean_of_all_controls() -> None:
    _, states = assert_simulator_equals_oracle(
        Scaffold(**RATES), problem=PROBLEM, graph=COMPLETE, schedules=SCHEDULES, batch_size=2, num_rounds=4
    )
    controls, everywhere = states_of(states, "control"), states_of(states, "global_control")
    np.testing.assert_allclose(everywhere, np.broadcast_to(controls.mean(axis=0), controls.shape), atol=ROUNDING)
    assert np.ptp(controls, axis=0).max() > 1e-2


def test_fed_prox_holds_agents_the_nearer_the_firmer() -> None:
    """After one round of one participant, its distance to the start falls with μ."""
    only = graphs.Schedules(active=graphs.Periodic(np.array([[True, False, False]])))
    replicas = [FedProx(**RATES, proximity=mu) for mu in (0.0, 1.0, 4.0)]
    experiment = PROBLEM.experiment(replicas[0], graph=COMPLETE, schedules=only, num_rounds=1)
    moved = stacked(run_ensemble(experiment, replicas, [0, 0, 0]).params)[:, 1] - QUADRATICS.start[1]
    distances = np.linalg.norm(moved, axis=(1, 2))
    assert distances[0] > distances[1] > distances[2] > 0


def test_fed_prox_in_the_simulator_is_the_loop() -> None:
    assert_simulator_equals_oracle(
        FedProx(**RATES, proximity=0.7), problem=PROBLEM, graph=COMPLETE, schedules=SCHEDULES, batch_size=2
    )


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="proximity"):
        FedProx(learning_rate=0.1, proximity=-1.0)
    with pytest.raises(InvalidSpec, match="server_rate"):
        Scaffold(learning_rate=0.1, server_rate=-1.0)
    with pytest.raises(IncompatiblePair, match="complete"):
        PROBLEM.simulate(Scaffold(learning_rate=0.1), graph=graphs.path(3))
