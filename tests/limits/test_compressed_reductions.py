"""What compressed methods reduce to, run on both sides, and what they never break."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import consilience as cs
from consilience import graphs
from consilience.algorithms import AdaptThenCombine, Algorithm, FederatedAveraging, ParallelSGD, check
from consilience.algorithms.compressed_gradients import distributed_lion, error_feedback_sgd, qsgd, sign_sgd, tern_grad
from consilience.algorithms.compression_layers import PartialAveraging
from consilience.algorithms.fed_dip import FedDIP
from consilience.algorithms.fish_mask import FishMask
from consilience.algorithms.one_byte import JustOneByte, replay
from consilience.algorithms.optimisers import Lion, Momentum
from consilience.algorithms.power_sgd import PowerSGD
from consilience.errors import InvalidSpec
from consilience.messages import Identity, TopK, decode, num_bits
from consilience.simulation import message_bits
from registries import (
    ROUNDING,
    SmallProblem,
    assert_same_params,
    assert_simulator_equals_oracle,
    final_params,
    run_oracle,
    small_problem,
)

# Of eight numbers little is to be saved.
pytestmark = pytest.mark.filterwarnings("ignore::consilience.errors.WastefulWarning")

RATES: dict[str, Any] = {"learning_rate": 0.1, "weight_decay": 0.05}
ROUNDS = 4
COMMON = small_problem(3, common_init=True)
ALONE = small_problem(1)

DIP: dict[str, Any] = {"sparsity": 0.7, "initial_sparsity": 0.2, "period": 2, "horizon": 4, "max_penalty": 0.1}
METHODS: dict[str, Algorithm] = {
    "sign_sgd": sign_sgd(**RATES),
    "error_feedback_sgd": error_feedback_sgd(**RATES, compressor=TopK(0.3)),
    "qsgd": qsgd(**RATES, levels=3),
    "tern_grad": tern_grad(**RATES),
    "distributed_lion": distributed_lion(0.1, vote="mean", num_agents=3, decoupled_decay=0.01),
    "power_sgd": PowerSGD(**RATES, optimiser=Momentum(0.5)),
    "just_one_byte": JustOneByte(0.02, log_rounds=2),
    "fish_mask": FishMask(**RATES, fraction=0.5, local_steps=2, refresh=3),
    "random_mask": FishMask(**RATES, fraction=0.5, score="random"),
    "fed_dip": FedDIP(**RATES, **DIP, local_steps=2),
    "partial_averaging": PartialAveraging(**RATES, local_steps=2, trainable=("weight",)),
}
every_method = pytest.mark.parametrize("name", list(METHODS))


@functools.cache
def run(algorithm: Algorithm, problem: SmallProblem = COMMON, **options: Any) -> xr.Dataset:
    return problem.simulate(algorithm, **{"num_rounds": ROUNDS, **options})


def descended(step: Any, gamma: float = RATES["weight_decay"]) -> list[dict[str, np.ndarray]]:
    """One agent's θ ← θ − η step(∇) in NumPy."""
    params = ALONE.initial(0)
    for _ in range(ROUNDS):
        gradient = ALONE.gradient(params, ALONE.shards[0], weight_decay=gamma)
        params = {name: leaf - RATES["learning_rate"] * step(gradient[name]) for name, leaf in params.items()}
    return [params]


def assert_ends_at(dataset: xr.Dataset, ends: list[dict[str, np.ndarray]]) -> None:
    for name, leaf in final_params(dataset).items():
        wanted = np.stack([end[name.removeprefix("params/")] for end in ends])
        np.testing.assert_allclose(leaf, wanted, rtol=ROUNDING, atol=ROUNDING)


# ---- all of them -------------------------------------------------------------------------------------------------


@pytest.mark.slow  # the catalog's own conformance tests run on one choice of each
@every_method
def test_method_conforms(name: str) -> None:
    report = check(METHODS[name])
    assert report.passed, str(report)


@pytest.mark.slow  # as above
@every_method
def test_simulator_equals_oracle(name: str) -> None:
    """And all agents hold the same model, as they must from common parameters."""
    method = METHODS[name]
    batch_size = 2 if name in ("fish_mask", "power_sgd", "just_one_byte") else None
    simulated, _ = assert_simulator_equals_oracle(
        method, problem=COMMON, graph=graphs.complete(3), batch_size=batch_size, num_rounds=5
    )
    for leaf in final_params(simulated).values():
        np.testing.assert_allclose(leaf, np.broadcast_to(leaf[0], leaf.shape), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        # Two arrays of 6 and 2 numbers in double precision; bytes are filled up.
        ("sign_sgd", [8 + 8]),
        ("error_feedback_sgd", [2 * 64 + 8 + 64 + 8]),
        ("qsgd", [24 + 64 + 8 + 64]),
        ("tern_grad", [16 + 64 + 8 + 64]),
        ("distributed_lion", [8 + 8]),
        ("power_sgd", [(3 + 2) * 64, 2 * 64]),
        ("just_one_byte", [8]),
        ("fish_mask", [4 * 64]),
        ("random_mask", [4 * 64]),
        ("fed_dip", [8 * 64 + 64]),
        ("partial_averaging", [6 * 64 + 64]),
    ],
)
def test_bits_of_a_message(name: str, bits: list[int]) -> None:
    assert message_bits(COMMON.experiment(METHODS[name], graph=graphs.complete(3))) == bits


# ---- parallel SGD with fewer bits --------------------------------------------------------------------------------


def test_sign_sgd_of_one_agent_is_sign_descent() -> None:
    assert_ends_at(run(sign_sgd(**RATES), ALONE), descended(np.sign))


def test_error_feedback_of_everything_is_parallel_sgd() -> None:
    assert_same_params(run(error_feedback_sgd(**RATES, compressor=Identity())), run(ParallelSGD(**RATES)))


def test_qsgd_with_many_levels_is_parallel_sgd() -> None:
    """The error of a number is below ‖g‖/s in every round, here by 1e-4 of what is gone."""
    assert_same_params(run(qsgd(**RATES, levels=2**15 - 1)), run(ParallelSGD(**RATES)), tolerance=1e-4)


def test_tern_grad_of_single_numbers_is_parallel_sgd() -> None:
    """Arrays of one number: all their numbers have one magnitude."""
    random = np.random.default_rng(0)
    task = cs.tasks.from_arrays(*(random.normal(size=(size, 1)) for size in (9, 9, 2, 2)), name="line")
    problem = SmallProblem(
        task=task,
        shards=cs.tasks.from_indices(task, np.split(np.arange(9), 3)),
        model=cs.models.from_functions(
            lambda key: {"weight": jnp.zeros((1, 1)), "bias": jnp.zeros(1)},
            lambda params, inputs: inputs @ params["weight"] + params["bias"],
        ),
        initial_params={"weight": np.full((3, 1, 1), 0.3), "bias": np.full((3, 1), -0.2)},
    )
    assert_same_params(problem.simulate(tern_grad(**RATES)), problem.simulate(ParallelSGD(**RATES)))


@pytest.mark.parametrize("vote", ["majority", "mean"])
def test_distributed_lion_of_one_agent_is_lion(vote: str) -> None:
    ours = distributed_lion(0.1, vote=vote, b1=0.7, b2=0.9, decoupled_decay=0.02)
    lion = ParallelSGD(0.1, decoupled_decay=0.02, optimiser=Lion(0.7, 0.9))
    assert_same_params(run(ours, ALONE), run(lion, ALONE))


def test_distributed_lion_without_a_mean_is_sign_sgd() -> None:
    assert_same_params(run(distributed_lion(0.1, b1=0.0)), run(sign_sgd(0.1)))


def test_unknown_votes_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="Write one"):
        distributed_lion(0.1, vote="median")
    with pytest.raises(InvalidSpec, match="Leave num_agents out"):
        distributed_lion(0.1, num_agents=8)


# ---- PowerSGD ----------------------------------------------------------------------------------------------------


def test_power_sgd_sends_small_matrices_as_they_are() -> None:
    problem = small_problem(3, num_outputs=1, common_init=True)
    assert_same_params(run(PowerSGD(**RATES), problem), run(ParallelSGD(**RATES), problem))


def test_power_sgd_is_exact_on_matrices_of_low_rank() -> None:
    """The slope on one sample is an outer product; of three agents with the same sample too."""
    task = COMMON.task
    same = SmallProblem(task, cs.tasks.from_indices(task, [[0]] * 3), COMMON.model, COMMON.initial_params)
    assert_same_params(run(PowerSGD(0.1), same), run(ParallelSGD(0.1), same), tolerance=1e-10)


def test_power_sgd_of_one_agent_is_sgd_on_matrices_of_low_rank() -> None:
    one = SmallProblem(ALONE.task, cs.tasks.from_indices(ALONE.task, [[1]]), ALONE.model, ALONE.initial_params)
    params = one.initial(0)
    for _ in range(ROUNDS):
        gradient = one.gradient(params, np.array([1]))
        params = {name: leaf - 0.1 * gradient[name] for name, leaf in params.items()}
    for name, leaf in final_params(run(PowerSGD(0.1), one)).items():
        # A basis is found from directions that may be nearly orthogonal to it: some digits less than rounding.
        np.testing.assert_allclose(leaf[0], params[name.removeprefix("params/")], atol=1e-10)


def test_power_sgd_loses_nothing() -> None:
    """Σ_t η P Qᵀ, and η times the mean of what is fed back, is η Σ_t of the mean slopes."""
    experiment = COMMON.experiment(PowerSGD(0.1), graph=graphs.complete(3), num_rounds=ROUNDS)
    states = run_oracle(experiment)
    params, slopes = COMMON.initial(0), np.zeros((3, 2))
    history = [COMMON.initial(0)]
    for rounds in range(1, ROUNDS):
        history.append(run(PowerSGD(0.1), num_rounds=rounds).params(0))
    for at in history:
        slopes += np.mean([COMMON.gradient(at, shard)["weight"] for shard in COMMON.shards], axis=0)
    left = np.mean([np.asarray(state["matrices"][0]) for state in states], axis=0)
    moved = params["weight"] - np.asarray(states[0]["params"]["weight"])
    np.testing.assert_allclose(moved + 0.1 * left, 0.1 * slopes, atol=1e-10)


# ---- one byte ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probe", [0.5, 0.01])
def test_one_exact_slope_of_one_agent_is_sgd_along_the_direction(probe: float) -> None:
    """SPSA: θ ← θ − η (z · ∇L) z, at any ε since the loss is quadratic."""
    experiment = ALONE.experiment(JustOneByte(0.02, probe=probe, exact=True), graph=graphs.complete(1))
    params = ALONE.initial(0)
    for round in range(ROUNDS):
        key = jax.random.fold_in(cs.randomness.key(0, cs.randomness.Purpose.SHARED, round), 0)
        bits = [np.unpackbits(np.asarray(jax.random.bits(jax.random.fold_in(key, k), (1,), "uint8"))) for k in (0, 1)]
        z = {"bias": 2.0 * bits[0][:2] - 1, "weight": (2.0 * bits[1][:6] - 1).reshape(3, 2)}
        gradient = ALONE.gradient(params, ALONE.shards[0])
        along = sum((z[name] * gradient[name]).sum() for name in z)
        params = {name: leaf - 0.02 * along * z[name] for name, leaf in params.items()}
    for name, leaf in final_params(run(experiment.algorithm, ALONE)).items():
        # The difference of two losses over 2ε loses two digits at ε = 0.01.
        np.testing.assert_allclose(leaf[0], params[name.removeprefix("params/")], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_late_joiners_rebuild_the_model_to_the_last_bit(dtype: str) -> None:
    method, saved = JustOneByte(0.02, log_rounds=ROUNDS), {}

    def keep(progress: Any) -> None:
        saved.update(progress.take_checkpoint().arrays)

    ran = COMMON.simulate(method, seed=5, on_chunk=keep, dtype=dtype)
    (log,) = (leaf for leaf in saved.values() if leaf.shape[2:] == (ROUNDS, 3))
    with jax.enable_x64(dtype == "float64"):
        start = {name: jnp.asarray(leaf[0], dtype) for name, leaf in COMMON.initial_params.items()}
        rebuilt = replay(method, start, log[1, 0], seed=5)
    assert log.dtype == np.int8
    assert np.abs(log[0]).max() > 0
    for agent in range(3):
        for name, leaf in ran.params(agent).items():
            np.testing.assert_array_equal(leaf, np.asarray(rebuilt[name]))


# ---- masks, pruning, and parts -----------------------------------------------------------------------------------


def test_a_mask_of_everything_is_adapt_then_combine_one_round_later() -> None:
    masked = run(FishMask(**RATES, fraction=1.0, local_steps=2))
    combined = AdaptThenCombine(**RATES, local_steps=2)
    assert_same_params(masked, run(combined, mixing=graphs.uniform(3), num_rounds=ROUNDS - 1))


@pytest.mark.parametrize("name", ["fish_mask", "random_mask"])
def test_masks_leave_the_rest_alone(name: str) -> None:
    """Half of eight numbers move, and four do not."""
    start, moved = COMMON.initial_params, 0
    method = FishMask(**RATES, fraction=0.5, score="fisher" if name == "fish_mask" else "random")
    for leaf_name, leaf in final_params(run(method)).items():
        moved += int((leaf[0] != start[leaf_name.removeprefix("params/")][0]).sum())
    assert moved == 4


def test_fed_dip_without_pruning_is_federated_averaging() -> None:
    whole = FedDIP(**RATES, local_steps=2, sparsity=0.0, initial_sparsity=0.0)
    assert_same_params(run(whole), run(FederatedAveraging(**RATES, local_steps=2)))


def test_fed_dip_prunes_as_it_says_and_sends_back_what_is_left() -> None:
    method = METHODS["fed_dip"]
    assert isinstance(method, FedDIP)
    weights = final_params(run(method, num_rounds=6))["params/weight"][0]
    assert (weights == 0).sum() == round(0.7 * 6)
    flat = {"weight": jnp.asarray(weights, jnp.float32), "bias": jnp.zeros(2)}
    coded, _ = method.broadcast((flat, jnp.ones(())), None)  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(np.asarray(decode(coded)), np.asarray(weights, np.float32).ravel())
    assert num_bits(coded) == 5 * 32 + 8


@pytest.mark.parametrize("trainable", [(), ("weight", "bias")])
def test_averaging_of_all_parts_is_federated_averaging(trainable: tuple[str, ...]) -> None:
    parts = PartialAveraging(**RATES, local_steps=2, trainable=trainable)
    assert_same_params(run(parts), run(FederatedAveraging(**RATES, local_steps=2)))


def test_frozen_parts_stay_to_the_last_bit() -> None:
    ends = final_params(run(METHODS["partial_averaging"]))
    np.testing.assert_array_equal(ends["params/bias"], COMMON.initial_params["bias"])
    assert (ends["params/weight"] != COMMON.initial_params["weight"]).all()


def test_parts_that_are_not_there_are_refused() -> None:
    with pytest.raises(InvalidSpec, match=r"no array 'weights'.*Write some of bias, weight"):
        run(PartialAveraging(0.1, trainable=("weights",)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: FishMask(0.1, fraction=0.0),
        lambda: FishMask(0.1, score="largest"),
        lambda: FedDIP(0.1, sparsity=1.0),
        lambda: FedDIP(0.1, sparsity=0.3, initial_sparsity=0.5),
        lambda: FedDIP(0.1, sparsity=0.5, period=0),
        lambda: PowerSGD(0.1, rank=0),
        lambda: JustOneByte(-0.1),
    ],
)
def test_impossible_hyper_parameters_are_refused_with_the_way_out(make: Any) -> None:
    with pytest.raises(InvalidSpec, match="Write "):
        make()
