"""The theory beside a live run: drawn potentials, paths and curves are those of `consilience.theory`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import consilience as cs
from consilience.dashboard.session import Snapshot
from consilience.dashboard.theory import TheoryView, landscape, predictions, wide
from consilience.dashboard.theory.conditions import Conditions, Disorder, conditions, measure
from consilience.dashboard.theory.decade_axis import DecadeAxis
from consilience.dashboard.theory.forecast import Forecast
from consilience.dashboard.theory.jobs import DONE, FAILED, STOPPED, Job, Report
from consilience.dashboard.theory.timeline import timeline
from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.experiments import predict_transition
from consilience.simulation import Freeze, Restart, SetParameter, Stage, SwapData
from consilience.theory import landau, peer_to_peer

RATE = 0.005
DIGITS = cs.tasks.load("digits", num_train=40, num_test=20)
DELTA, SECOND = np.array([1.0, 0.5, -0.3, 2.0]), np.array([1.0, 0.8, 1.2, 1.0])


def population(depth: int = 1, coupling: float = 0.8, graph: Any = None, **changes: Any) -> Conditions:
    graph = graph or cs.graphs.complete(4)
    return Conditions(depth, coupling, RATE, 1e-3, graph, Disorder(DELTA, SECOND), **changes)


def stage(algorithm: Any = None, *, model: Any = None, task: Any = None, num_agents: int = 2, **options: Any) -> Stage:
    algorithm = algorithm or cs.algorithms.DiffusiveCoupling(learning_rate=RATE, coupling=3.0, weight_decay=1e-3)
    experiment = cs.simulation.resolve_experiment(
        algorithm, model=model or cs.models.mlp(depth=1), task=task or DIGITS,
        shards=cs.tasks.by_class(DIGITS, num_agents=num_agents), graph=cs.graphs.complete(num_agents), num_rounds=100,
        observe=("loss",), **options,
    )  # fmt: skip
    return Stage(experiment, (algorithm,))


# ---- conventions -------------------------------------------------------------------------------------------------


def test_units_are_those_of_the_derivation() -> None:
    """σ = 2σ̂, γ̂ = γ, t = 2η · rounds."""
    here = conditions(stage(), Disorder(np.ones(2), np.ones(2)))
    assert (here.coupling, here.reduced_coupling, here.depth) == (3.0, 1.5, 1)
    assert here.weight_decay == 1e-3
    assert here.time(1000) == 2 * RATE * 1000
    assert here.stability_limit == 2 / RATE  # of Eq. (2), which the axis is in


def test_the_disorder_is_that_of_the_prediction() -> None:
    at = stage()
    experiment = at.experiment
    found = measure(experiment.task, experiment.shards)
    expected = landau.measure_disorder(experiment.task, cs.tasks.by_class(experiment.task, num_agents=2), num_groups=2)
    np.testing.assert_allclose(found.delta, expected.delta, rtol=1e-12)  # rounding of the same sums
    np.testing.assert_allclose(found.second_moment, expected.second_moment, rtol=1e-12)
    swapped = SwapData(10, 0, 1).change(at)
    other = measure(experiment.task, swapped.experiment.shards)
    np.testing.assert_allclose(other.delta, found.delta[::-1], rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "say"),
    [
        (lambda: stage(cs.algorithms.DGD(learning_rate=0.1)), "diffusive_coupling"),
        (lambda: stage(model=cs.models.ntk_mlp(depth=1, width=8)), "Choose the model mlp"),
        (lambda: stage(schedules=cs.graphs.Schedules(active=cs.graphs.RandomSubset(1, 2))), "without schedules"),
    ],
)
def test_runs_that_the_theory_does_not_describe_are_refused_with_an_alternative(make: Any, say: str) -> None:
    with pytest.raises(IncompatiblePair, match=say):
        conditions(make(), Disorder(np.ones(2), np.ones(2)))


def test_frozen_agents_are_no_schedule() -> None:
    here = conditions(Freeze(10, agent=1).change(stage()), Disorder(np.ones(2), np.ones(2)))
    assert here.absent == {1}
    assert not here.adjacency.any()


def test_the_axis_has_room_for_no_coupling() -> None:
    axis = DecadeAxis(0.03, 396.0)
    sigma = np.array([0.0, 0.01, 0.03, 0.3, 3.0, 300.0])
    at = axis.position(sigma)
    assert (np.diff(at) > 0).all()
    np.testing.assert_allclose(np.diff(at[2:]), [1, 1, 2], atol=1e-12)  # decades, to rounding
    assert axis.span[0] < at[0]
    assert at[-1] < axis.span[1]
    for position, label in axis.ticks().items():
        np.testing.assert_allclose(axis.position(float(label)), position, atol=1e-12)


# ---- potentials and particles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("graph", [cs.graphs.complete(4), cs.graphs.star(4)], ids=lambda graph: graph.name)
def test_particles_run_downhill(depth: int, graph: cs.graphs.Graph) -> None:
    """The slope of the drawn potential at m_i is −ṁ_i."""
    here = population(depth, graph=graph)
    particles = np.array([0.7, -0.4, 1.3, 0.2])
    step = 1e-5
    drawn = [landscape.among_others(particles + shift, particles, here).diagonal() for shift in (-step, step)]
    drift = landau.drift(
        particles, DELTA, depth=depth, coupling=here.reduced_coupling, weight_decay=here.weight_decay,
        second_moment=SECOND, graph=graph,
    )  # fmt: skip
    # Central differences: an error of V''' step² ~ 1e-9, and rounding of V ~ 1e-16/step.
    np.testing.assert_allclose((drawn[1] - drawn[0]) / (2 * step), -drift, atol=1e-8)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_minima_of_the_drawn_potentials_are_equilibria(depth: int) -> None:
    """In a stable state each particle is at a minimum of the potential that the others make for it."""
    here = population(depth)
    states = landau.equilibria(
        DELTA, depth=depth, coupling=here.reduced_coupling, weight_decay=here.weight_decay, second_moment=SECOND
    )
    stable = states.m.values[states.stable.values]
    assert len(stable) > 0
    grid = np.linspace(-2.5, 2.5, 5001)
    for state in stable:
        drawn = landscape.among_others(grid, state, here)
        is_minimum = (drawn[:, 1:-1] < drawn[:, :-2]) & (drawn[:, 1:-1] < drawn[:, 2:])
        for agent, m in enumerate(state):
            found = grid[1:-1][is_minimum[agent]]
            assert abs(found - m).min() <= 1e-3  # the spacing of the grid


def test_minima_alone_are_the_equilibria_without_coupling() -> None:
    here = population(1, coupling=0.0)
    grid = np.linspace(-2.5, 2.5, 5001)
    states = landau.equilibria(DELTA, depth=1, coupling=0.0, weight_decay=here.weight_decay, second_moment=SECOND)
    for agent, drawn in enumerate(landscape.own(grid, here)):
        found = grid[1:-1][(drawn[1:-1] < drawn[:-2]) & (drawn[1:-1] < drawn[2:])]
        expected = np.unique(states.m.values[states.stable.values][:, agent].round(9))
        np.testing.assert_allclose(found, expected, atol=1e-3)  # the spacing of the grid


def test_the_sum_of_what_is_drawn_is_the_energy() -> None:
    """Each pair's spring is in the potentials of both of its ends, so the energy holds it once."""
    here, particles = population(2), np.array([0.7, -0.4, 1.3, 0.2])
    drawn, alone = landscape.among_others(particles, particles, here), landscape.own(particles, here)
    total = alone.diagonal().sum() + 0.5 * (drawn - alone).diagonal().sum()
    expected = landau.energy(
        particles, DELTA, depth=2, coupling=here.reduced_coupling, weight_decay=1e-3, second_moment=SECOND
    )
    np.testing.assert_allclose(total, expected, rtol=1e-12)  # rounding


def at_coupling(m: np.ndarray, sigma: float, rounds: float) -> np.ndarray:
    times = [0.0, 2 * RATE * rounds]
    return landau.integrate(
        DELTA, m, depth=1, coupling=sigma / 2, weight_decay=1e-3, second_moment=SECOND, times=times
    )[-1]


def test_the_path_follows_the_interventions_of_the_run() -> None:
    """Piecewise constant couplings, in the theory's units and time, and a restart."""
    at = stage(num_agents=4)
    made = [SetParameter(50, "coupling", 40.0), SetParameter(120, "coupling", 0.0), Restart(150)]
    segments = timeline(at, made)
    known = Disorder(DELTA, SECOND)
    begin = landscape.start(4, seed=3)
    path = landscape.Path(np.array([0]), begin[None], conditions(at, known), 1)
    path = landscape.follow(path, segments[:1], [50], lambda _: known)  # known up to the first intervention
    path = landscape.follow(path, segments, [100, 140, 170], lambda _: known)
    assert path.rounds.tolist() == [0, 50, 100, 140, 150, 170]
    m50 = at_coupling(begin, 3.0, 50)
    m100 = at_coupling(m50, 40.0, 50)
    m140 = at_coupling(at_coupling(m100, 40.0, 20), 0.0, 20)
    expected = [begin, m50, m100, m140, begin, at_coupling(begin, 0.0, 20)]
    # The path is integrated with a relative error of 1e-6 per step.
    np.testing.assert_allclose(path.m, expected, atol=1e-4)
    assert path.here.coupling == 0.0


def test_frozen_agents_neither_move_nor_pull() -> None:
    begin = landscape.start(5, seed=3)
    five = Disorder(np.append(DELTA, 1.0), np.append(SECOND, 1.0))
    here = dataclasses.replace(
        population(1, coupling=8.0), graph=cs.graphs.complete(5), disorder=five, absent=frozenset({4})
    )
    moved = landscape.advance(begin, here, 100)
    assert moved[4] == begin[4]
    # Eq. (4) divides by all five agents, `integrate` by the four.
    np.testing.assert_allclose(moved[:4], at_coupling(begin[:4], 8.0 * 4 / 5, 100), atol=1e-4)


# ---- curves ------------------------------------------------------------------------------------------------------


def test_the_curve_is_that_of_predict_transition() -> None:
    at = stage(num_agents=4)
    task, shards = at.experiment.task, cs.tasks.by_class(at.experiment.task, num_agents=4)
    here = conditions(at, measure(task, at.experiment.shards))
    couplings = np.array([0.0, 1.0, 30.0])
    first = landau.DisorderDefinition()
    reference = predict_transition(
        task, shards, depths=[1], couplings=couplings.tolist(), graph=at.experiment.graph, learning_rate=RATE,
        num_rounds=1000, weight_decay=1e-3, num_realizations=4, num_groups=2, definitions={first.name: first},
    )  # fmt: skip
    expected = reference.curves.sel(case=first.name, depth=1)
    told: list[float] = []
    # With as many rows as the reference has, for its three cases of the disorder; the first four are the same.
    found = predictions.curve(here, couplings, num_rounds=1000, num_realizations=12, report=told.append)
    # Rows that are solved together share their steps, whose relative error is 1e-3 (the paper's solver).
    np.testing.assert_allclose(found.order[:, :4], expected.order, atol=2e-3)
    np.testing.assert_allclose(found.gain[:, :4], expected.gain, atol=2e-3)
    assert told == pytest.approx([0, 1 / 3, 2 / 3])
    swept = landau.sweep(
        here.disorder.delta, landau.uniform_start(12, 4), depth=1, couplings=couplings / 2, span=10.0,
        average_after=5.0, second_moment=here.disorder.second_moment,
    )  # fmt: skip
    np.testing.assert_allclose(found.loss, swept.loss, atol=2e-3)


def test_the_key_of_a_curve_knows_all_but_the_coupling() -> None:
    here = population()
    same = dataclasses.replace(here, coupling=9.0, absent=frozenset({1}))
    assert predictions.fingerprint(here) == predictions.fingerprint(same)
    others = [
        dataclasses.replace(here, weight_decay=0.1),
        dataclasses.replace(here, learning_rate=0.1),
        dataclasses.replace(here, depth=2),
        dataclasses.replace(here, graph=cs.graphs.cycle(4)),
        dataclasses.replace(here, disorder=Disorder(DELTA[::-1], SECOND)),
    ]
    assert len({predictions.fingerprint(one) for one in (here, *others)}) == 6


def test_the_phase_diagram_over_the_disorder_is_that_of_the_theory() -> None:
    here = population(1)
    couplings, stds = np.array([0.0, 4.0]), [0.0, 1.5]
    found = predictions.phase_diagram(
        here, "disorder_std", stds, couplings, num_rounds=1000, num_realizations=12, seed=2
    )
    expected = landau.phase_diagram(
        {"disorder_std": stds, "coupling": (couplings / 2).tolist()}, weight_decay=1e-3, num_agents=4, depth=1,
        graph=here.graph, disorder_mean=float(DELTA.mean()), num_realizations=12, span=10.0, seed=2,
    )  # fmt: skip
    # The same calls, in other batches.
    np.testing.assert_allclose(found.order, abs(expected.magnetization).mean("seed"), atol=2e-3)
    assert predictions.current_value(here, "disorder_std") == pytest.approx(DELTA.std())


# ---- wide networks -----------------------------------------------------------------------------------------------


SQUARED = dataclasses.replace(DIGITS, loss=cs.tasks.SquaredLoss())


def wide_stage(**changes: Any) -> Stage:
    algorithm = changes.pop("algorithm", cs.algorithms.DiffusiveCoupling(learning_rate=0.2, coupling=1.0))
    options = {"model": cs.models.ntk_mlp(depth=1, width=16), "task": SQUARED, "batch_size": None, "common_init": True}
    return stage(algorithm, **{**options, "num_agents": 4, **changes})


def test_forecasts_are_trajectories_of_the_theory() -> None:
    at = wide_stage()
    segments = timeline(at, [SetParameter(30, "coupling", 4.0)])
    network = wide.linearize(at, seed=0)
    graph = at.experiment.graph
    mixing = [cs.graphs.diffusive(graph, learning_rate=0.2, coupling=sigma).weights for sigma in (1.0, 4.0)]

    def expected(mixing: Any) -> tuple[np.ndarray, np.ndarray]:
        run = peer_to_peer.trajectory(
            network, mixing, learning_rate=0.2, num_rounds=60, record_every=15, keep=["outputs"]
        )
        hits = run.test_outputs.values.argmax(axis=-1) == DIGITS.test_labels
        return run.test_loss.values, hits.mean(axis=-1)

    forecast = Forecast(network, DIGITS.test_labels, at.experiment.shards)
    rounds = [0, 15, 30, 45, 60]
    for known, mix in ((segments[:1], mixing[0]), (segments, lambda round: mixing[int(round >= 30)])):
        found, (loss, accuracy) = forecast.predict(known, rounds), expected(mix)
        # The same linear algebra in other orders: rounding grows by some digits over 60 rounds.
        np.testing.assert_allclose(found.loss, loss, rtol=1e-9)
        np.testing.assert_array_equal(found.accuracy, accuracy)


def test_a_restart_is_round_0_again() -> None:
    at = wide_stage()
    forecast = Forecast(wide.linearize(at, seed=5), DIGITS.test_labels, at.experiment.shards)
    segments = timeline(at, [Restart(4)])
    found = forecast.predict(segments, [0, 3, 4, 7])
    assert found.accuracy is not None
    np.testing.assert_allclose(found.loss[2:], found.loss[:2], rtol=1e-12)  # the same sums
    np.testing.assert_array_equal(found.accuracy[2:], found.accuracy[:2])


@pytest.mark.slow
def test_forecasts_are_what_wide_networks_do() -> None:
    """From the run's own start, with an intervention, to within some times 1/width."""
    task = cs.tasks.load("digits", num_train=100, num_test=100)
    at = wide_stage(
        task=dataclasses.replace(task, loss=cs.tasks.SquaredLoss()), model=cs.models.ntk_mlp(depth=1, width=1024)
    )
    made = [SetParameter(50, "coupling", 4.0)]
    run = cs.simulation.Simulation(at.experiment, at.algorithms, [5], capacity=50)
    forecast = Forecast(wide.linearize(at, seed=5), task.test_labels, at.experiment.shards)
    found = forecast.predict(timeline(at, made), [0, 50, 100])
    for row in range(3):
        measured = run.measure()["loss"][0]
        # Single precision in round 0; then what a width of 1024 leaves, measured .4 % in a published comparison.
        np.testing.assert_allclose(found.loss[row], measured, rtol=1e-5 if row == 0 else 0.02)
        if row == 1:
            run.intervene(made[0])
        run.advance(50)


@pytest.mark.parametrize(
    ("changes", "say"),
    [
        ({"model": cs.models.mlp(depth=1)}, "ntk_mlp"),
        ({"task": DIGITS}, "loss squared"),
        ({"batch_size": 4}, "whole shards"),
        ({"common_init": False}, "common start"),
        ({"algorithm": cs.algorithms.AdaptThenCombine(0.1, local_steps=3)}, "one plain local step"),
    ],
)
def test_the_reason_why_wide_theory_is_silent_names_an_alternative(changes: dict[str, Any], say: str) -> None:
    with pytest.raises(IncompatiblePair, match=say):
        wide.check_described(wide_stage(**changes))


def test_a_kernel_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "LARGEST_KERNEL", 10_000.0)
    with pytest.raises(IncompatiblePair, match="num_train"):
        wide.check_described(wide_stage())


def test_swapped_data_end_the_forecast() -> None:
    at = wide_stage()
    segments = timeline(at, [SwapData(5, 0, 1)])
    forecast = Forecast(wide.linearize(at, seed=0), DIGITS.test_labels, at.experiment.shards)
    with pytest.raises(IncompatiblePair, match="swapped"):
        forecast.predict(segments, [0, 10])


# ---- the view ----------------------------------------------------------------------------------------------------


def snapshot_of(at: Stage, rounds: list[int], made: list[Any] | None = None, **values: np.ndarray) -> Snapshot:
    made = made or []
    now = timeline(at, made)[-1].stage
    return Snapshot(
        status="running", message="", round=rounds[-1], rounds_per_second=0.0, stage=now, rounds=np.array(rounds),
        traffic=np.zeros(len(rounds)), values=values, latest={}, marks=tuple((one.round, str(one)) for one in made),
        begun=at, interventions=tuple(made), seed=3,
    )  # fmt: skip


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> predictions.Curve:
    """A curve that takes no time, in the place of those of the view."""
    couplings = np.array([0.0, 1.0, 100.0])
    one = np.array([[0.0, 0.2], [0.4, 0.6], [0.8, 0.8]])
    made = predictions.Curve(couplings, one, -one, one)
    diagram = predictions.PhaseDiagram("weight_decay", np.array([0.0, 0.001, 1.0]), couplings, np.eye(3))
    monkeypatch.setattr(predictions, "curve", lambda *_, **__: made)
    monkeypatch.setattr(predictions, "phase_diagram", lambda *_, **__: diagram)
    return made


def drawn_after(view: TheoryView, snapshot: Snapshot) -> None:
    """Two updates: one that asks, and one that finds the answers."""
    view.update(snapshot)
    view._particles.wait()
    view.update(snapshot)
    for job in (view._curve, view._phase):
        job.wait()
    view.update(snapshot)


def test_the_view_draws_what_the_theory_says(solved: predictions.Curve) -> None:
    at, rounds = stage(num_agents=4), [0, 50]
    measured = {"magnetization": np.full((2, 4), -0.02), "loss": np.array([[8.0] * 4, [2.0] * 4])}
    view = TheoryView()
    for made in ([], [SetParameter(50, "coupling", 10.0)]):
        drawn_after(view, snapshot_of(at, rounds, made, **measured))
    disorder = measure(at.experiment.task, at.experiment.shards)
    m = landau.integrate(
        disorder.delta, landscape.start(4, 3), depth=1, coupling=1.5, weight_decay=1e-3,
        second_moment=disorder.second_moment, times=[0.0, 2 * RATE * 50],
    )[-1]  # fmt: skip
    np.testing.assert_allclose(view._potentials._particles.data["m"], m, atol=1e-4)  # of the path
    # σ has just become 10: the potentials feel it, and the points stand there, though no round has passed.
    assert view._path is not None
    assert view._path.here.coupling == 10.0
    assert view._transition._now.data["sigma"] == [10.0]
    np.testing.assert_allclose(view._transition._now.data["y"], abs(m.mean()), atol=1e-4)
    assert view._transition._measured.data["y"] == pytest.approx([0.02])
    assert view._loss._measured.data["y"] == [2.0]
    np.testing.assert_allclose(view._transition._curve.data["mean"], solved.order.mean(axis=1))
    # Between σ = 1 and 100 linearly, of the mean over starts.
    assert "σ = 10 the theory says |⟨m⟩| = 0.53 (0.45 to 0.61)" in view._sections["transition"]._text.object
    view.close()


def test_an_update_without_news_is_cheap(solved: predictions.Curve) -> None:
    import time

    snapshot = snapshot_of(stage(num_agents=4), [0, 50], magnetization=np.zeros((2, 4)), loss=np.ones((2, 4)))
    view = TheoryView()
    drawn_after(view, snapshot)
    took = []
    for _ in range(20):
        start = time.perf_counter()
        view.update(snapshot)
        took.append(time.perf_counter() - start)
    assert (
        min(took) < 0.02
    )  # what a page can afford four times a second; the least, for the machine has others to serve
    view.close()


def test_the_view_says_why_a_theory_is_silent() -> None:
    view = TheoryView()
    view.update(snapshot_of(stage(cs.algorithms.DGD(learning_rate=0.1)), [0]))
    assert "diffusive_coupling" in view._group._alert.object
    assert not view._group._figures.visible
    assert "ntk_mlp" in view._wide._group._alert.object
    view.close()


# ---- jobs --------------------------------------------------------------------------------------------------------


def test_jobs_remember_and_the_last_request_counts() -> None:
    import threading

    started, go = threading.Event(), threading.Event()

    def slow(report: Report) -> str:
        started.set()
        go.wait(10)
        report(0.5)
        return "slow"

    job = Job[str, str]("test")
    job.request("slow", slow)
    started.wait(10)
    job.request("quick", lambda report: "quick")
    go.set()
    job.wait()
    assert job.result == ("quick", "quick")
    calls: list[int] = []
    job.request("quick", lambda report: str(calls.append(1)))
    assert (job.state, calls) == (DONE, [])


def test_jobs_stop_and_say_what_went_wrong() -> None:
    def endless(report: Report) -> None:
        while True:
            report(0.1)

    def refuse(report: Report) -> None:
        raise InvalidSpec("seen, why, instead")

    job = Job[str, None]("test")
    job.request("endless", endless)
    job.stop()
    job.wait()
    assert (job.state, job.result) == (STOPPED, None)
    job.request("refused", refuse)
    job.wait()
    assert (job.state, job.error) == (FAILED, "seen, why, instead")
