"""Compressed methods against loops in NumPy, three agents with different quadratics, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import consilience as cs
from consilience import graphs
from consilience.algorithms import ChocoSGD, FederatedAveraging, ParallelSGD
from consilience.algorithms.compressed_gradients import (
    distributed_lion,
    error_feedback_sgd,
    qsgd,
    sign_sgd,
    tern_grad,
)
from consilience.algorithms.compression_layers import PartialAveraging
from consilience.algorithms.fed_dip import FedDIP
from consilience.algorithms.fish_mask import FishMask
from consilience.algorithms.one_byte import JustOneByte
from consilience.algorithms.optimisers import Momentum
from consilience.algorithms.power_sgd import PowerSGD
from consilience.graphs import Periodic, Schedules
from consilience.messages import ErrorFeedback, TopK
from consilience.simulation import run_ensemble
from registries import final_params, small_problem

# Of eight numbers little is to be saved.
pytestmark = pytest.mark.filterwarnings("ignore::consilience.errors.WastefulWarning")

# Six rounds of some hundred products of numbers of order one, and roots, in double precision.
TOLERANCE = 1e-10
ROUNDS = 6
ETA, GAMMA = 0.1, 0.05
RATES: dict[str, Any] = {"learning_rate": ETA, "weight_decay": GAMMA}

PROBLEM = small_problem(3, common_init=True)
APART = small_problem(3)
NUM = 3

Params = dict[str, np.ndarray]


def each(function: Callable[..., Any], *trees: Params) -> Params:
    return {name: function(*(tree[name] for tree in trees)) for name in trees[0]}


def mean(trees: list[Params], weights: Any = (1 / NUM,) * NUM) -> Params:
    return each(lambda *leaves: sum(w * leaf for w, leaf in zip(weights, leaves, strict=True)), *trees)


def slope(params: Params, agent: int, gamma: float = GAMMA, problem: Any = PROBLEM) -> Params:
    """∇(L_i + γ‖θ‖²) on the whole shard."""
    return problem.gradient(params, problem.shards[agent], weight_decay=gamma)


def largest(x: np.ndarray, share: float) -> np.ndarray:
    """x where it is among the ⌈share · n⌉ largest, 0 elsewhere."""
    order = np.argsort(-np.abs(x).ravel())[: int(np.ceil(share * x.size - 1e-9))]
    kept = np.zeros(x.size)
    kept[order] = x.ravel()[order]
    return kept.reshape(x.shape)


def assert_all_end_at(algorithm: Any, expected: Params | list[Params], problem: Any = PROBLEM, **options: Any) -> None:
    ends = final_params(problem.simulate(algorithm, num_rounds=ROUNDS, **options))
    for name, leaf in ends.items():
        own = name.removeprefix("params/")
        wanted = [one[own] for one in expected] if isinstance(expected, list) else NUM * [expected[own]]
        np.testing.assert_allclose(leaf, wanted, rtol=TOLERANCE, atol=TOLERANCE)


def test_choco_sgd() -> None:
    """Every agent's public copies as all know them: θ_i += ζ Σ_j w_ij (h_j − h_i)."""
    graph = graphs.path(3)
    w, zeta, share = graphs.metropolis(graph).weights, 0.3, 0.3
    thetas = [APART.initial(agent) for agent in range(NUM)]
    copies = [each(np.zeros_like, theta) for theta in thetas]
    for _ in range(ROUNDS):
        for agent in range(NUM):
            for _ in range(2):
                down = slope(thetas[agent], agent, problem=APART)
                thetas[agent] = each(lambda x, g: x - ETA * g, thetas[agent], down)
            copies[agent] = each(lambda h, x: h + largest(x - h, share), copies[agent], thetas[agent])
        pulls = [mean([each(np.subtract, h, copies[i]) for h in copies], w[i]) for i in range(NUM)]
        thetas = [each(lambda x, p: x + zeta * p, x, p) for x, p in zip(thetas, pulls, strict=True)]
    choco = ChocoSGD(**RATES, local_steps=2, consensus_step=zeta, compressor=TopK(share))
    assert_all_end_at(choco, thetas, APART, graph=graph)


def test_parallel_sgd_with_all_slots() -> None:
    """Momentum before top-k with feedback, top-k of the mean on its way back, momentum and decay after it."""
    lam, up, down, heavy, heavier = 0.02, 0.4, 0.7, 0.5, 0.8
    theta, velocity = PROBLEM.initial(0), each(np.zeros_like, PROBLEM.initial(0))
    own, errors = [each(np.zeros_like, theta)] * NUM, [each(np.zeros_like, theta)] * NUM
    for _ in range(ROUNDS):
        arrived = []
        for agent in range(NUM):
            own[agent] = each(lambda m, g: heavy * m + g, own[agent], slope(theta, agent))
            whole = each(np.add, own[agent], errors[agent])
            arrived.append(each(lambda p: largest(p, up), whole))
            errors[agent] = each(np.subtract, whole, arrived[-1])
        back = each(lambda u: largest(u, down), mean(arrived))
        velocity = each(lambda v, u: heavier * v + u, velocity, back)
        theta = each(lambda x, v: x - ETA * (v + lam * x), theta, velocity)
    method = ParallelSGD(
        **RATES,
        decoupled_decay=lam,
        local=Momentum(heavy),
        compressor=TopK(up),
        memory=ErrorFeedback(),
        broadcast_compressor=TopK(down),
        optimiser=Momentum(heavier),
    )
    assert_all_end_at(method, theta)


def test_federated_averaging_with_all_slots() -> None:
    """Shards of unequal sizes, a participant missing in every second round, feedback, and a server with momentum."""
    present = [[True, True, True], [True, False, True]]
    sizes, share, rate, heavy = [len(shard) for shard in PROBLEM.shards], 0.4, 0.7, 0.6
    theta = PROBLEM.initial(0)
    errors, velocity = [each(np.zeros_like, theta)] * NUM, each(np.zeros_like, theta)
    for round in range(ROUNDS):
        here = [agent for agent in range(NUM) if present[round % 2][agent]]
        sent = []
        for agent in here:
            local = theta
            for _ in range(2):
                local = each(lambda x, g: x - ETA * g, local, slope(local, agent))
            whole = each(lambda x, x0, e: x - x0 + e, local, theta, errors[agent])
            sent.append(each(lambda p: largest(p, share), whole))
            errors[agent] = each(np.subtract, whole, sent[-1])
        moved = mean(sent, [sizes[agent] / sum(sizes[i] for i in here) for agent in here])
        velocity = each(lambda v, m: heavy * v - m, velocity, moved)
        theta = each(lambda x, v: x - rate * v, theta, velocity)
    method = FederatedAveraging(
        **RATES,
        local_steps=2,
        compressor=TopK(share),
        memory=ErrorFeedback(),
        server=Momentum(heavy),
        server_rate=rate,
    )
    assert_all_end_at(method, theta, schedules=Schedules(active=Periodic(np.array(present))))


def test_sign_sgd() -> None:
    theta = PROBLEM.initial(0)
    for _ in range(ROUNDS):
        votes = [each(np.sign, slope(theta, agent)) for agent in range(NUM)]
        theta = each(lambda x, v: x - ETA * np.sign(v), theta, mean(votes))
    assert_all_end_at(sign_sgd(ETA, weight_decay=GAMMA), theta)


def test_error_feedback_sgd() -> None:
    """In the form of the paper's perturbed iterates: what is sent late is still subtracted as η g in the end."""
    theta, errors = PROBLEM.initial(0), [each(np.zeros_like, PROBLEM.initial(0))] * NUM
    for _ in range(ROUNDS):
        # The paper keeps steps η g, not gradients.
        steps = [each(lambda g, e: ETA * g + e, slope(theta, agent), errors[agent]) for agent in range(NUM)]
        sent = [each(lambda p: largest(p, 0.3), step) for step in steps]
        errors = [each(np.subtract, step, s) for step, s in zip(steps, sent, strict=True)]
        theta = each(np.subtract, theta, mean(sent))
    assert_all_end_at(error_feedback_sgd(ETA, weight_decay=GAMMA, compressor=TopK(0.3)), theta)


@pytest.mark.parametrize(("vote", "num_agents"), [("majority", None), ("mean", None), ("mean", 3)])
def test_distributed_lion(vote: str, num_agents: int | None) -> None:
    b1, b2, lam = 0.7, 0.9, 0.04
    theta, means = PROBLEM.initial(0), [each(np.zeros_like, PROBLEM.initial(0))] * NUM
    for _ in range(ROUNDS):
        downhill = [slope(theta, agent, 0.0) for agent in range(NUM)]
        votes = [each(lambda m, g: np.sign(b1 * m + (1 - b1) * g), *pair) for pair in zip(means, downhill, strict=True)]
        means = [each(lambda m, g: b2 * m + (1 - b2) * g, *pair) for pair in zip(means, downhill, strict=True)]
        counted = mean(votes)
        if vote == "majority":
            counted = each(np.sign, counted)
        theta = each(lambda x, d: x - ETA * (d + lam * x), theta, counted)
    method = distributed_lion(ETA, vote=vote, num_agents=num_agents, b1=b1, b2=b2, decoupled_decay=lam)
    assert_all_end_at(method, theta)


@pytest.mark.parametrize("method", [qsgd(ETA, levels=2), tern_grad(ETA, clipping=None)], ids=["qsgd", "tern_grad"])
def test_random_rounding_is_right_in_the_mean(method: ParallelSGD) -> None:
    """Null: the mean over seeds of a round is the plain round. Refused beyond 4.5 standard errors of any of 8 numbers,
    which by chance happens once in 20,000 tests."""
    seeds = 400
    experiment = PROBLEM.experiment(method, graph=graphs.complete(3), num_rounds=1)
    ends = run_ensemble(experiment, [method] * seeds, list(range(seeds))).params
    start = PROBLEM.initial(0)
    expected = each(lambda x, g: x - ETA * g, start, mean([slope(start, agent, 0.0) for agent in range(NUM)]))
    for name, leaf in ends.items():
        first = np.asarray(leaf)[:, 0]
        error = first.std(axis=0) / seeds**0.5
        assert (error > 0).any()
        assert (np.abs(first.mean(axis=0) - expected[name]) <= 4.5 * error + TOLERANCE).all()


def test_power_sgd() -> None:
    """With the agents' own projections taken away, as in the paper: the mean of what is fed back is the same."""
    method = PowerSGD(**RATES, rank=1)
    theta = PROBLEM.initial(0)
    key = jax.random.split(cs.randomness.key(0, cs.randomness.Purpose.SHARED, 0), 1)[0]
    q = np.asarray(jax.random.normal(key, (2, 1), "float32"), float)
    errors = [np.zeros((3, 2)) for _ in range(NUM)]
    for _ in range(ROUNDS):
        slopes = [slope(theta, agent) for agent in range(NUM)]
        matrices = [errors[agent] + slopes[agent]["weight"] for agent in range(NUM)]
        p = sum(m @ q for m in matrices) / NUM
        p /= np.linalg.norm(p)
        own = [m.T @ p for m in matrices]
        errors = [m - p @ one.T for m, one in zip(matrices, own, strict=True)]
        q = np.mean(own, axis=0)
        bias = sum(s["bias"] for s in slopes) / NUM
        theta = {"weight": theta["weight"] - ETA * p @ q.T, "bias": theta["bias"] - ETA * bias}
    assert_all_end_at(method, theta)


def test_just_one_byte() -> None:
    eta, probe, unit = 0.02, 0.1, 0.05
    task, theta = PROBLEM.task, PROBLEM.initial(0)

    def loss(params: Params, agent: int) -> float:
        shard = PROBLEM.shards[agent]
        residuals = task.train_inputs[shard] @ params["weight"] + params["bias"] - task.train_labels[shard]
        return (residuals**2).sum() / (2 * len(shard))

    def direction(round: int, agent: int) -> Params:
        key = jax.random.fold_in(cs.randomness.key(0, cs.randomness.Purpose.SHARED, round), agent)
        drawn = {}
        for index, (name, size) in enumerate((("bias", 2), ("weight", 6))):
            (byte,) = np.asarray(jax.random.bits(jax.random.fold_in(key, index), (1,), "uint8"))
            drawn[name] = np.array([1.0 if (byte >> (7 - k)) & 1 else -1.0 for k in range(size)])
        return {"weight": drawn["weight"].reshape(3, 2), "bias": drawn["bias"]}

    seen = set()
    for round in range(ROUNDS):
        step = each(np.zeros_like, theta)
        for agent in range(NUM):
            z = direction(round, agent)
            ahead, behind = (loss(each(lambda x, d, s=s: x + s * d, theta, z), agent) for s in (probe, -probe))
            byte = int(np.clip(np.rint((ahead - behind) / (2 * probe) / unit), -127, 127))
            seen.add(byte)
            step = each(lambda total, d, b=byte: total + b * d, step, z)
        theta = each(lambda x, d: x - eta * unit / NUM * d, theta, step)
    assert min(seen) < 0 < max(seen)
    assert_all_end_at(JustOneByte(eta, probe=probe, unit=unit), theta)


def flat(params: Params) -> np.ndarray:
    return np.concatenate([params["bias"], params["weight"].ravel()])


def test_fish_mask() -> None:
    """Four of eight numbers in a message: two rounds to agree, and then they learn."""
    theta, places = PROBLEM.initial(0), None
    fisher = np.zeros(8)
    for agent in range(NUM):
        squares = [flat(PROBLEM.gradient(theta, np.array([sample]))) ** 2 for sample in PROBLEM.shards[agent]]
        fisher += np.mean(squares, axis=0) / NUM
    places = np.sort(np.argsort(-fisher)[:4])
    assert min(places) < 4 <= max(places), "both messages should matter"
    for _ in range(ROUNDS - 2):
        ends = []
        for agent in range(NUM):
            local = flat(theta)
            for _ in range(2):
                now = {"bias": local[:2], "weight": local[2:].reshape(3, 2)}
                local[places] -= ETA * flat(slope(now, agent))[places]
            ends.append(local)
        averaged = np.mean(ends, axis=0)
        theta = {"bias": averaged[:2], "weight": averaged[2:].reshape(3, 2)}
    assert_all_end_at(FishMask(**RATES, local_steps=2, fraction=0.5), theta)


SEED_OF_REGROWTH = 1


def test_fed_dip() -> None:
    """The server's weights and the pruned model, side by side."""
    first, last, horizon, strongest, sizes = 0.5, 0.67, 4, 0.3, [len(shard) for shard in PROBLEM.shards]
    problem = small_problem(3, common_init=True, seed=SEED_OF_REGROWTH)
    dense, kept, returned = problem.initial(0), np.ones((3, 2), bool), 0
    for round in range(ROUNDS):
        t = min(round / horizon, 1)
        if round % 2 == 0:
            pruned = round_half(6 * (last + (first - last) * (1 - t) ** 3))
            ranks = np.argsort(np.argsort(np.abs(dense["weight"]).ravel())).reshape(3, 2)
            returned += int(((ranks >= pruned) & ~kept).sum())
            kept = ranks >= pruned
        penalty = GAMMA + strongest * np.floor(t * 2) / 2
        moved = []
        for agent in range(NUM):
            local = {"weight": dense["weight"] * kept, "bias": dense["bias"]}
            start = local
            for _ in range(2):
                seen = {"weight": local["weight"] * kept, "bias": local["bias"]}
                local = each(lambda x, g: x - ETA * g, local, slope(seen, agent, penalty, problem))
            moved.append(each(np.subtract, local, start))
        dense = each(np.add, dense, mean(moved, [size / sum(sizes) for size in sizes]))
    assert 0 < kept.sum() < 6
    assert returned, "nothing that was pruned grew back"
    method = FedDIP(
        **RATES,
        local_steps=2,
        sparsity=last,
        initial_sparsity=first,
        period=2,
        horizon=horizon,
        max_penalty=strongest,
        num_penalties=2,
    )
    assert_all_end_at(method, {"weight": dense["weight"] * kept, "bias": dense["bias"]}, problem)


def round_half(x: float) -> int:
    return int(np.rint(x))


def test_partial_averaging() -> None:
    sizes, theta = [len(shard) for shard in PROBLEM.shards], PROBLEM.initial(0)
    for _ in range(ROUNDS):
        ends = []
        for agent in range(NUM):
            local = dict(theta)
            for _ in range(2):
                local["weight"] = local["weight"] - ETA * slope(local, agent)["weight"]
            ends.append(local)
        theta = mean(ends, [size / sum(sizes) for size in sizes])
    assert_all_end_at(PartialAveraging(**RATES, local_steps=2, trainable=("weight",)), theta)
