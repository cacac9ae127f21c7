"""What is done to a population under way: the same live and recorded, and the experiment that it leads to."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import consilience as cs
from consilience.errors import IncompatiblePair, InvalidSpec, StabilityWarning, UnknownName
from consilience.experiments import identity, resolve_spec, spec
from consilience.simulation import (
    Checkpoint,
    Freeze,
    Intervention,
    Progress,
    Restart,
    SetEdge,
    SetParameter,
    Simulation,
    SwapData,
    Thaw,
    make_ensemble,
    run_ensemble,
)

TASK = cs.tasks.load("digits")
SHARDS = cs.tasks.by_class(TASK, num_agents=4)
EQ2 = cs.algorithms.DiffusiveCoupling(learning_rate=0.1, coupling=2.0)
EVERYTHING: tuple[Intervention, ...] = (
    SetParameter(5, "coupling", 8.0),
    SetEdge(10, 0, 3, 0.0),
    Freeze(12, 2),
    SwapData(15, 1, 3),
    SetParameter(15, "learning_rate", 0.05),
    Thaw(18, 2),
    Restart(20),
    SetEdge(20, 0, 3, 0.5),
)


def an_experiment(interventions: tuple[Intervention, ...] = (), **changes: Any) -> cs.simulation.Experiment:
    parts: dict[str, Any] = {
        "algorithm": EQ2,
        "model": cs.models.mlp(depth=0),
        "task": TASK,
        "shards": SHARDS,
        "graph": cs.graphs.complete(4),
        "num_rounds": 25,
        "observe_every": 5,
        "batch_size": 8,
        **changes,
    }
    return cs.simulation.resolve_experiment(interventions=interventions, **parts)


def end(experiment: cs.simulation.Experiment, **options: Any) -> dict[str, np.ndarray]:
    return run_ensemble(experiment, [experiment.algorithm], [3], **options).params["layer_0"]


def test_a_live_session_and_the_recorded_run_are_equal_to_the_bit() -> None:
    recorded = run_ensemble(an_experiment(EVERYTHING), [EQ2], [3])
    live = Simulation(an_experiment(), [EQ2], [3], capacity=5)
    seen = [live.measure()["accuracy"]]
    for round in range(1, 26):
        live.advance(1)
        if round % 5 == 0:
            seen.append(live.measure()["accuracy"])
        for one in EVERYTHING:
            if one.round == round:
                live.intervene(one)
    np.testing.assert_array_equal(np.stack(seen, axis=1), recorded.observations["accuracy"])
    for name, leaf in live.params()["layer_0"].items():
        np.testing.assert_array_equal(leaf, recorded.params["layer_0"][name])


@pytest.mark.parametrize("batch_size", [8, None])
def test_a_run_resumes_between_interventions(batch_size: int | None) -> None:
    experiment = an_experiment(EVERYTHING, batch_size=batch_size)
    taken: list[Checkpoint] = []

    def keep(progress: Progress) -> None:
        taken.append(progress.take_checkpoint())

    ensemble = make_ensemble(experiment, [3])
    whole = end(experiment, on_chunk=keep, ensemble=ensemble)
    for checkpoint in taken:
        if checkpoint.round in (12, 15, 20):
            for name, leaf in end(experiment, checkpoint=checkpoint, ensemble=ensemble).items():
                np.testing.assert_array_equal(leaf, whole[name], err_msg=f"{name} from {checkpoint.round} on")


EARLY_ON = [
    (SetParameter(0, "coupling", 8.0), {"algorithm": cs.algorithms.DiffusiveCoupling(0.1, coupling=8.0)}),
    (SetEdge(0, 0, 3, 0.0), {"graph": cs.graphs.from_adjacency(
        [[0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 0]], name="cut")}),
    (SwapData(0, 1, 3), {"shards": [SHARDS[0], SHARDS[3], SHARDS[2], SHARDS[1]]}),
    (Freeze(0, 2), {"schedules": cs.graphs.Schedules(active=cs.graphs.Absent((2,), num_agents=4))}),
]  # fmt: skip


@pytest.mark.parametrize(("intervention", "changes"), EARLY_ON)
def test_an_intervention_leads_to_the_experiment_that_it_names(
    intervention: Intervention, changes: dict[str, Any]
) -> None:
    after, expected = end(an_experiment((intervention,))), end(an_experiment(**changes))
    for name, leaf in after.items():
        np.testing.assert_array_equal(leaf, expected[name])


def test_a_restart_forgets() -> None:
    """With whole shards nothing depends on the index of the round."""
    again = end(an_experiment((Restart(10),), batch_size=None))
    fresh = end(an_experiment(batch_size=None, num_rounds=15))
    for name, leaf in again.items():
        np.testing.assert_array_equal(leaf, fresh[name])


def test_a_frozen_agent_stands_still() -> None:
    live = Simulation(an_experiment(), [EQ2], [3], capacity=5)
    live.advance(5)
    live.intervene(Freeze(5, 2))
    before = live.params()["layer_0"]["weight"]
    live.advance(5)
    after = live.params()["layer_0"]["weight"]
    np.testing.assert_array_equal(before[:, 2], after[:, 2])
    assert all((before[:, agent] != after[:, agent]).any() for agent in (0, 1, 3))


def test_cutting_every_edge_isolates() -> None:
    cuts = tuple(SetEdge(0, i, j, 0.0) for i in range(4) for j in range(i))
    alone = an_experiment(algorithm=cs.algorithms.DiffusiveCoupling(0.1, coupling=0.0))
    for name, leaf in end(an_experiment(cuts)).items():
        np.testing.assert_allclose(leaf, end(alone)[name], rtol=0, atol=1e-6)  # single precision; entries up to 1


@pytest.mark.parametrize(
    ("interventions", "error", "message"),
    [
        ((SetParameter(5, "coupling", -1.0),), InvalidSpec, "negative coupling"),
        ((SetParameter(5, "copling", 1.0),), UnknownName, "Did you mean 'coupling'"),
        ((SetParameter(50, "coupling", 1.0),), InvalidSpec, "ends with round 25"),
        ((SetEdge(5, 0, 0),), InvalidSpec, "two ends"),
        ((SetEdge(5, 0, 4),), InvalidSpec, "no agent 4"),
        ((SetEdge(5, 0, 1, -1.0),), InvalidSpec, "finite weight"),
        ((Thaw(5, 1),), InvalidSpec, "not frozen"),
        ((SwapData(5, 0, 7),), InvalidSpec, "no agent 7"),
        (("cut",), InvalidSpec, "SetParameter"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_runs(
    interventions: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        an_experiment(interventions)


def test_costs_follow_what_is_done() -> None:
    """Twelve links; ten after a cut; four when an agent with three neighbours is away."""
    counted = cs.simulation.costs(an_experiment((SetEdge(10, 0, 3, 0.0), Freeze(15, 1), Thaw(20, 1))))
    message = cs.simulation.message_bits(an_experiment())[0]
    per_round = np.diff(counted.bits) // message
    assert per_round.tolist() == 10 * [12] + 5 * [10] + 5 * [4] + 5 * [10]
    assert np.diff(counted.gradients).tolist() == 15 * [4] + 5 * [3] + 5 * [4]


def test_methods_that_remember_their_links_refuse_other_links() -> None:
    choco = cs.algorithms.ChocoSGD(learning_rate=0.1, compressor=cs.messages.TopK(0.5))
    with pytest.raises(IncompatiblePair, match="copies"):
        an_experiment((SetEdge(5, 0, 1, 0.0),), algorithm=choco)
    with pytest.raises(IncompatiblePair, match="missed"):
        an_experiment((Freeze(5, 1),), algorithm=choco)


def test_a_coupling_beyond_the_limit_is_warned_of() -> None:
    with pytest.warns(StabilityWarning, match="From round 5 on"):
        an_experiment((SetParameter(5, "coupling", 100.0),))


def test_a_spec_holds_interventions() -> None:
    tables = [spec.as_table(one) for one in EVERYTHING]
    content = {"run": {"num_rounds": 25}, "algorithm": {"name": "diffusive_coupling", "learning_rate": 0.01}}
    planned = resolve_spec({**content, "interventions": tables})
    assert planned.experiment.interventions == EVERYTHING
    assert planned.run_id != resolve_spec(content).run_id
    assert resolve_spec(content).run_id == resolve_spec({**content, "interventions": []}).run_id
    assert "interventions" not in (resolve_spec(content).spec or {})["experiment"]
    assert planned.run_id == identity(planned.spec)
    with pytest.raises(UnknownName, match="freeze"):
        resolve_spec({**content, "interventions": [{"round": 3, "kind": "frieze", "agent": 1}]})
    with pytest.raises(InvalidSpec, match="list of tables"):
        resolve_spec({**content, "interventions": {"round": 3}})
