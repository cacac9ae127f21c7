"""Second moments of training with mini-batches, against all possible sequences of batches and against plain operators.

The oracle trains a linear model in parameter space, in NumPy, and shares nothing with the theory but the data. Where
every sequence of batches of a few rounds is tried, expectations are exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from consilience.errors import InvalidSpec, UnknownName
from consilience.graphs import Periodic, cycle, metropolis, path
from consilience.theory.peer_to_peer.coordinates import coordinates
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.noise import feedback as noise_feedback
from consilience.theory.peer_to_peer.noise import mean_square
from consilience.theory.peer_to_peer.noise.mean_square import largest_minibatch_rate, noise_gain, stationary_moments
from consilience.theory.peer_to_peer.noise.moments import minibatch_moments
from consilience.theory.peer_to_peer.noise.sampling import sampling
from consilience.theory.peer_to_peer.predict import trajectory

ALGORITHMS = ("dgd", "atc", "cta")
DIRECTED = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.4, 0.0, 0.6]])
LOSSES = ("train_loss", "objective", "test_loss")


@dataclass
class LinearModel:
    """f_c(x, θ) = f_c⁰(x) + φ_c(x)·(θ − θ⁰), of agents that start apart."""

    sizes: tuple[int, ...]
    features: np.ndarray  # (samples, outputs, parameters)
    residuals: np.ndarray  # (samples, outputs)
    test_features: np.ndarray
    test_residuals: np.ndarray
    origin: np.ndarray  # θ⁰
    offsets: np.ndarray  # (agents, parameters)

    @property
    def shards(self) -> list[np.ndarray]:
        return np.split(np.arange(sum(self.sizes)), np.cumsum(self.sizes)[:-1])

    def linearization(self) -> Linearization:
        num_outputs, num_params = self.features.shape[1:]
        vectors = np.concatenate([self.origin[None], self.offsets])
        norms = np.linalg.norm(vectors, axis=1)
        units = vectors / np.where(norms > 0, norms, 1)[:, None]
        rows = np.concatenate([self.features.reshape(-1, num_params), units])
        watched = np.concatenate([rows, self.test_features.reshape(-1, num_params)])
        targets, test_targets = -self.residuals.reshape(-1, 1), -self.test_residuals.reshape(-1, 1)
        start = np.zeros((len(self.sizes), len(norms)))
        np.fill_diagonal(start[:, 1:], norms[1:])
        return Linearization(
            sizes=np.array(self.sizes),
            num_outputs=num_outputs,
            gram=rows @ watched.T,
            outputs=np.zeros_like(targets),
            targets=targets,
            test_outputs=np.zeros_like(test_targets),
            test_targets=test_targets,
            start=start,
            origin_norm=float(norms[0]),
            origin=None,
        )

    def losses(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Of deviations (runs, agents, parameters), each (runs, agents)."""

        def loss(features: np.ndarray, residuals: np.ndarray) -> np.ndarray:
            errors = np.einsum("nkp,rqp->rqnk", features, theta) + residuals
            return np.square(errors).sum(axis=(-1, -2)) / (2 * len(features))

        each = np.stack([loss(self.features[shard], self.residuals[shard]) for shard in self.shards], axis=-1)
        own = np.diagonal(each, axis1=1, axis2=2)
        return dict(zip(LOSSES, (own, each.mean(-1), loss(self.test_features, self.test_residuals)), strict=True))

    def round(
        self,
        theta: np.ndarray,
        batches: list[np.ndarray],
        weights: np.ndarray,
        *,
        algorithm: str,
        rate: float,
        decay: float,
    ) -> np.ndarray:
        """All runs, (runs, agents, parameters), after a round with these samples."""

        def gradient(theta: np.ndarray) -> np.ndarray:
            result = 2 * decay * (theta + self.origin)
            for agent, batch in enumerate(batches):
                errors = np.einsum("nkp,rp->rnk", self.features[batch], theta[:, agent]) + self.residuals[batch]
                result[:, agent] += np.einsum("nkp,rnk->rp", self.features[batch], errors) / len(batch)
            return result

        mixed = np.einsum("qs,rsp->rqp", weights, theta)
        if algorithm == "dgd":
            return mixed - rate * gradient(theta)
        if algorithm == "cta":
            return mixed - rate * gradient(mixed)
        return np.einsum("qs,rsp->rqp", weights, theta - rate * gradient(theta))


def linear_model(sizes: tuple[int, ...], num_params: int, num_outputs: int = 1, *, apart: float = 0.3) -> LinearModel:
    random = np.random.default_rng(7)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape)

    num_samples, num_agents = sum(sizes), len(sizes)
    return LinearModel(
        sizes,
        normal(num_samples, num_outputs, num_params) / np.sqrt(num_params),
        normal(num_samples, num_outputs),
        normal(3, num_outputs, num_params),
        normal(3, num_outputs),
        normal(num_params),
        apart * normal(num_agents, num_params),
    )


def second_moment_radius(lin: Linearization, weights: np.ndarray, **options: Any) -> float:
    """ρ(𝓐 + 𝓝), by its matrix on symmetric covariances."""
    coords = coordinates(lin)
    batches = sampling(coords, **options)
    pairs = list(itertools.combinations_with_replacement(range(coords.size), 2))
    rows, columns = np.array(pairs).T
    images = []
    for i, j in pairs:
        unit = np.zeros((coords.size, coords.size))
        unit[i, j] = unit[j, i] = 1
        images.append(batches.propagate(unit, weights)[rows, columns])
    return float(np.abs(np.linalg.eigvals(np.array(images).T)).max())


# ---- round by round ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("num_outputs", [1, 2])
@pytest.mark.parametrize("replacement", [False, True])
def test_moments_are_those_of_all_sequences_of_batches(algorithm: str, num_outputs: int, replacement: bool) -> None:
    model = linear_model((3, 2, 1), 4, num_outputs)
    rate, decay, size = 0.3, 0.05, 2 if replacement else 1
    draws: Callable[..., Any] = itertools.product if replacement else itertools.combinations
    options = {"repeat": size} if replacement else {"r": size}
    choices = [[np.array(drawn) for drawn in draws(shard, **options)] for shard in model.shards]
    states = [model.offsets[None]]
    for _ in range(2 if replacement else 4):
        after = [
            model.round(states[-1], list(batches), DIRECTED, algorithm=algorithm, rate=rate, decay=decay)
            for batches in itertools.product(*choices)
        ]
        states.append(np.concatenate(after))
    found = minibatch_moments(
        model.linearization(),
        DIRECTED,
        algorithm=algorithm,
        learning_rate=rate,
        batch_size=size,
        num_rounds=len(states) - 1,
        weight_decay=decay,
        replacement=replacement,
    )
    for round, theta in enumerate(states):
        now, mean = found.isel(round=round), theta.mean(axis=0, keepdims=True)
        # Some thousand sums of numbers of order 1, in other orders.
        exact: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-13}
        for name, losses in model.losses(theta).items():
            np.testing.assert_allclose(now[name], losses.mean(axis=0), **exact)
            at_mean = model.losses(mean)[name][0]
            np.testing.assert_allclose(now[f"{name}_excess"], losses.mean(axis=0) - at_mean, **exact)
        np.testing.assert_allclose(now.parameter_variance, np.square(theta - mean).sum(-1).mean(axis=0), **exact)
        apart = np.square(theta - theta.mean(axis=1, keepdims=True)).sum(-1).mean()
        np.testing.assert_allclose(now.consensus_distance, np.sqrt(apart), **exact)
        outputs = np.einsum("nkp,rqp->rqnk", model.test_features, theta)
        np.testing.assert_allclose(now.output_variance, outputs.var(axis=0).mean(axis=(-1, -2)), **exact)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_outputs_that_share_a_kernel_are_as_outputs_of_their_own(algorithm: str) -> None:
    random = np.random.default_rng(1)
    features, targets = random.normal(size=(9, 5)), random.normal(size=(9, 2))
    shared = Linearization(
        sizes=np.array([4, 2]),
        num_outputs=2,
        gram=features[:6] @ features.T,
        outputs=np.zeros((6, 2)),
        targets=targets[:6],
        test_outputs=np.zeros((3, 2)),
        test_targets=targets[6:],
        start=np.zeros((2, 0)),
        origin_norm=0.0,
        origin=None,
    )
    flat: dict[str, Any] = {
        name: getattr(shared, name).reshape(-1, 1) for name in ("outputs", "targets", "test_outputs", "test_targets")
    }
    separate = replace(shared, gram=np.kron(shared.gram, np.eye(2)), **flat)
    found = [
        minibatch_moments(
            lin, [[0.7, 0.3], [0.2, 0.8]], algorithm=algorithm, learning_rate=0.1, batch_size=2, num_rounds=20
        )
        for lin in (shared, separate)
    ]
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=1e-10, atol=1e-12)  # rounding of 20 rounds


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_whole_shards_are_not_random(algorithm: str) -> None:
    lin = linear_model((3, 3, 3), 5).linearization()
    options: dict[str, Any] = {"algorithm": algorithm, "learning_rate": 0.2, "num_rounds": 30, "weight_decay": 0.01}
    found = minibatch_moments(lin, DIRECTED, batch_size=3, **options)
    full = trajectory(lin, DIRECTED, **options)
    for name in (*LOSSES, "consensus_distance"):
        np.testing.assert_allclose(found[name], full[name], rtol=1e-9)  # the same rounds, perhaps by another method
    for name in ("train_loss_excess", "objective_excess", "test_loss_excess", "output_variance", "parameter_variance"):
        assert not found[name].any()


def test_a_single_sample_is_the_whole_shard_even_with_replacement() -> None:
    found = minibatch_moments(
        linear_model((1, 1, 1), 5).linearization(),
        DIRECTED,
        learning_rate=0.2,
        batch_size=4,
        num_rounds=3,
        replacement=True,
    )
    assert not found.parameter_variance.any()


def test_mixing_may_change_from_round_to_round() -> None:
    model = linear_model((3, 2, 2), 5)
    matrices = [metropolis(path(3)).weights, DIRECTED]
    options: dict[str, Any] = {"learning_rate": 0.2, "batch_size": 1, "keep": "covariance"}
    found = minibatch_moments(model.linearization(), Periodic(matrices), num_rounds=2, **options)
    first = minibatch_moments(model.linearization(), matrices[0], num_rounds=2, **options)
    np.testing.assert_array_equal(found.covariance[1], first.covariance[1])
    # The same but for mixing once with other weights.
    assert np.abs(found.covariance[2] - first.covariance[2]).max() > 0.01 * first.covariance[2].max()


def test_the_covariance_is_one() -> None:
    found = minibatch_moments(
        linear_model((3, 2, 2), 5).linearization(),
        DIRECTED,
        learning_rate=0.2,
        batch_size=1,
        num_rounds=7,
        record_every=3,
        keep=("covariance",),
    )
    assert found["round"].values.tolist() == [0, 3, 6, 7]
    assert found.covariance.dims == ("round", "agent", "coordinate", "other_agent", "other_coordinate")
    last = found.covariance[-1].values
    np.testing.assert_allclose(np.einsum("qiqi->q", last), found.parameter_variance[-1], rtol=1e-13)
    values = np.linalg.eigvalsh(last.reshape(2 * [last.shape[0] * last.shape[1]]))
    assert values[0] > -1e-15 * len(values)  # rounding of numbers up to 1


# ---- limits of the learning rate -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "num_params"), [("dgd", 12), ("atc", 2), ("cta", 12)])
def test_second_moments_converge_up_to_a_noise_gain_of_one(algorithm: str, num_params: int) -> None:
    """𝓐 + 𝓝 has spectral radius 1 where 𝓖𝓝 has, whether agents can interpolate the data or not."""
    lin = linear_model((2, 2, 1), num_params, apart=0.0).linearization()
    rate = largest_minibatch_rate(lin, DIRECTED, algorithm=algorithm, batch_size=1)
    options = {"algorithm": algorithm, "batch_size": 1}
    assert noise_gain(lin, DIRECTED, learning_rate=rate, **options) == pytest.approx(1, rel=2e-4)
    radii = [second_moment_radius(lin, DIRECTED, learning_rate=rate * by, **options) for by in (0.99, 1, 1.01)]
    # The rate is known to 1e-5, and the radius changes about as fast as its square.
    assert radii[1] == pytest.approx(1, abs=1e-4)
    assert radii[0] < 1 - 1e-4
    assert radii[2] > 1 + 1e-4


def test_the_symmetric_way_is_the_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lin, graph = linear_model((3, 2, 2), 9).linearization(), metropolis(path(3))
    options: dict[str, Any] = {"learning_rate": 0.5, "batch_size": 1}
    gain = noise_gain(lin, graph, **options)
    moments = stationary_moments(lin, graph, weight_decay=0.1, **options)
    monkeypatch.setattr(noise_feedback, "_ByModes", noise_feedback._ByDoubling)
    assert noise_gain(lin, graph, **options) == pytest.approx(gain, rel=1e-5)  # both are known to 1e-6
    general = stationary_moments(lin, graph, weight_decay=0.1, **options)
    np.testing.assert_allclose(general.test_loss, moments.test_loss, rtol=1e-9)  # solved to 1e-12


def test_whole_shards_have_the_limit_of_full_batches() -> None:
    """DGD with symmetric W: 1/λ_max of the blocks [(I + W)⁻¹]_qr K_qr/√(n_q n_r)."""
    lin, graph = linear_model((3, 3, 3), 12).linearization(), metropolis(path(3))
    resolvent = np.repeat(np.repeat(np.linalg.inv(np.eye(3) + graph.weights), 3, axis=0), 3, axis=1)
    limit = 1 / np.linalg.eigvalsh(resolvent * lin.kernel / 3)[-1]
    # Converged to 1e-5.
    assert largest_minibatch_rate(lin, graph, batch_size=3) == pytest.approx(limit, rel=2e-5)
    assert noise_gain(lin, graph, batch_size=3, learning_rate=0.999 * limit) == 0
    assert noise_gain(lin, graph, batch_size=3, learning_rate=1.001 * limit) == np.inf


def test_smaller_batches_need_smaller_rates_than_full_ones() -> None:
    lin, graph = linear_model((3, 3, 3), 20).linearization(), metropolis(path(3))
    rates = [largest_minibatch_rate(lin, graph, batch_size=size) for size in (1, 2, 3)]
    assert rates == sorted(rates)
    assert rates[0] < 0.9 * rates[2]  # 0.53
    between = (rates[0] + rates[2]) / 2
    full = trajectory(lin, graph, learning_rate=between, num_rounds=300)
    noisy = minibatch_moments(lin, graph, learning_rate=between, batch_size=1, num_rounds=300, record_every=300)
    assert (full.train_loss[-1] < full.train_loss[0]).all()
    assert not (noisy.train_loss[-1] < 1e3 * noisy.train_loss[0]).any()


def test_equal_shards_have_one_gain_for_all_batch_sizes() -> None:
    lin = linear_model((4, 4, 4), 6).linearization()
    found = [
        noise_gain(lin, DIRECTED, learning_rate=0.2, batch_size=size, replacement=replacement)
        for size, replacement in ((1, False), (3, False), (2, True))
    ]
    # κ = 1, 1/9 and 1/2; each gain is known to 1e-6.
    np.testing.assert_allclose(found, np.array([1, 1 / 9, 1 / 2]) * found[0], rtol=1e-5)


# ---- where it ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_stationary_moments_are_those_after_many_rounds(algorithm: str, weight_decay: float) -> None:
    lin = linear_model((5, 3, 4), 2, num_outputs=2).linearization()  # 24 numbers for 2 parameters
    options: dict[str, Any] = {
        "algorithm": algorithm,
        "learning_rate": 0.3,
        "batch_size": 2,
        "weight_decay": weight_decay,
        "keep": "covariance",
    }
    end = stationary_moments(lin, DIRECTED, **options)
    long = minibatch_moments(lin, DIRECTED, num_rounds=600, record_every=600, **options).isel(round=-1)
    assert float(end.objective_excess.min()) > 1e-3
    for name in end:
        np.testing.assert_allclose(end[name], long[name], rtol=1e-9, atol=1e-13)  # solved to 1e-12


def test_agents_that_interpolate_come_to_rest() -> None:
    lin = linear_model((3, 2, 2), 12, apart=0.0).linearization()
    end = stationary_moments(lin, DIRECTED, learning_rate=0.3, batch_size=1)
    assert float(end.parameter_variance.max()) < 1e-20  # squares of rounding errors
    assert float(end.objective.max()) < 1e-20


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_the_data_say_nothing_of_has_no_noise(algorithm: str) -> None:
    """Agents start apart in three parameters that no output depends on, and two groups of agents never meet."""
    model = linear_model((8, 5, 5), 5)
    model.features[..., 2:] = 0
    alone = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.5, 0.5]])
    options: dict[str, Any] = {"algorithm": algorithm, "learning_rate": 0.3, "batch_size": 1, "keep": "covariance"}
    end = stationary_moments(model.linearization(), alone, **options)
    long = minibatch_moments(model.linearization(), alone, num_rounds=2000, record_every=2000, **options)
    for name, values in end.items():
        np.testing.assert_allclose(values, long[name][-1], rtol=1e-9, atol=1e-12)  # solved to 1e-12


def test_noise_is_proportional_to_the_rate() -> None:
    lin = linear_model((5, 3, 4), 2).linearization()
    small, smaller = (
        stationary_moments(lin, DIRECTED, learning_rate=rate, batch_size=1).parameter_variance.mean()
        for rate in (2e-4, 1e-4)
    )
    assert float(small / smaller) == pytest.approx(2, rel=2e-3)  # corrections are of the order of the rate


# ---- what is refused -----------------------------------------------------------------------------------------------


def moments(**options: Any) -> Any:
    defaults = {"learning_rate": 0.1, "batch_size": 2, "num_rounds": 1}
    return minibatch_moments(linear_model((3, 2, 2), 5).linearization(), DIRECTED, **(defaults | options))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"batch_size": 3}, "agent 1 has 2 samples, of which no 3 can be drawn without replacement"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"num_rounds": -1}, "num_rounds=-1"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"max_memory": -1.0}, "max_memory=-1.0"),
        ({"max_memory": 1e3}, "A rank of 1 would fit"),
    ],
)
def test_values_that_cannot_be_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSpec, match=reason):
        moments(**options)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownName, match="dgd"):
        moments(algorithm="sgd")
    with pytest.raises(UnknownName, match="covariance"):
        moments(keep=("variance",))


def test_noise_that_grows_has_no_stationary_state(monkeypatch: pytest.MonkeyPatch) -> None:
    lin, graph = linear_model((4, 4, 4), 20).linearization(), metropolis(cycle(3))
    limit = largest_minibatch_rate(lin, graph, batch_size=1)
    with pytest.raises(InvalidSpec, match=r"noise causes 1.* times its own size"):
        stationary_moments(lin, graph, learning_rate=1.02 * limit, batch_size=1)
    with pytest.raises(InvalidSpec, match="full batches diverge already"):
        stationary_moments(lin, graph, learning_rate=100.0, batch_size=1)
    monkeypatch.setattr(noise_feedback, "LARGEST", 10)
    with pytest.raises(InvalidSpec, match=r"above 10 .* minibatch_moments goes further"):
        noise_gain(lin, graph, learning_rate=0.1, batch_size=1)


def test_no_rate_is_stable_for_weights_that_blow_up() -> None:
    lin = linear_model((3, 2, 2), 9).linearization()
    growing = np.array([[2.0, -1.0, 0.0], [-1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    assert largest_minibatch_rate(lin, growing, batch_size=1) == 0
    assert mean_square.noise_gain(lin, growing, learning_rate=1e-3, batch_size=1) == np.inf
