"""Conventions of `docs/conventions.md` that no other test holds, one small test each; and that each is held by one."""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

import consilience as cs
from consilience.algorithms import DiffusiveCoupling
from consilience.experiments import resolve_sweep
from consilience.experiments.plan import replica_limit
from registries import SmallProblem, final_params, small_problem

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "conventions.md"
RATE = 0.1
# One round of sums of a few numbers of order one, in double precision.
ROUNDING = 1e-13


PAIR, FOUR = small_problem(2), small_problem(4, sizes=(4, 4, 4, 4))


@functools.cache
def after_one_round(problem: SmallProblem, *, coupling: float = 0.0, weight_decay: float = 0.0, **options: Any) -> Any:
    """Parameters of all agents, name → (agents, ...)."""
    algorithm = DiffusiveCoupling(learning_rate=RATE, coupling=coupling, weight_decay=weight_decay)
    run = problem.simulate(algorithm, num_rounds=1, **options)
    return {name.removeprefix("params/"): leaf for name, leaf in final_params(run).items()}


def digits(**options: Any) -> dict[str, Any]:
    """A small experiment with a network that draws its own parameters."""
    task = cs.tasks.load("digits", num_train=200, num_test=50)
    shards = cs.tasks.by_class(task, num_agents=5)
    parts = {"model": cs.models.mlp(depth=0), "task": task, "shards": shards, "graph": cs.graphs.complete(5)}
    return {**parts, "num_rounds": 1, "observe": (), **options}


# ---- Eq. (1) and Eq. (2) -----------------------------------------------------------------------------------------


def test_training_losses_are_means() -> None:
    """A shard that holds every sample twice gives the same step, and so does a mini-batch that is the whole shard."""
    task = PAIR.task
    doubled = cs.tasks.from_arrays(
        np.tile(task.train_inputs, (2, 1)), np.tile(task.train_labels, (2, 1)), task.test_inputs, task.test_labels
    )
    twice = tuple(np.concatenate([shard, shard + task.num_train]) for shard in PAIR.shards)
    twice_the_data = dataclasses.replace(PAIR, task=doubled, shards=twice)
    for name, leaf in after_one_round(twice_the_data).items():
        np.testing.assert_allclose(leaf, after_one_round(PAIR)[name], rtol=0, atol=ROUNDING)
    for name, leaf in after_one_round(FOUR, batch_size=4).items():
        np.testing.assert_allclose(leaf, after_one_round(FOUR)[name], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("problem", [PAIR, FOUR], ids=["2 agents", "4 agents"])
def test_coupling_one_over_the_learning_rate_averages_in_one_step(problem: SmallProblem) -> None:
    """ησ = 1 on the complete graph, whatever N: σ is divided by N."""
    alone, together = (after_one_round(problem, coupling=coupling) for coupling in (0.0, 1 / RATE))
    for name, start in problem.initial_params.items():
        # Without the gradient's part, every agent is at the mean.
        positions = together[name] - (alone[name] - start)
        np.testing.assert_allclose(positions, np.broadcast_to(start.mean(axis=0), start.shape), rtol=0, atol=ROUNDING)


def test_gradient_and_coupling_are_taken_before_the_step() -> None:
    """The coupling adds ησ(θ̄ − θ_i) at the parameters before the step, whatever the gradient did."""
    coupling = 3.0
    alone, together = (after_one_round(FOUR, coupling=one) for one in (0.0, coupling))
    for name, start in FOUR.initial_params.items():
        pull = RATE * coupling * (start.mean(axis=0) - start)
        np.testing.assert_allclose(together[name] - alone[name], pull, rtol=0, atol=ROUNDING)


def test_weight_decay_adds_twice_gamma_theta() -> None:
    gamma = 0.25
    plain, decayed = after_one_round(PAIR, coupling=0.0), after_one_round(PAIR, weight_decay=gamma)
    for name, start in PAIR.initial_params.items():
        np.testing.assert_allclose(decayed[name] - plain[name], -RATE * 2 * gamma * start, rtol=0, atol=ROUNDING)


def test_agents_move_towards_those_they_listen_to() -> None:
    """q[0, 1] = 2: agent 0 listens to agent 1, who listens to nobody."""
    graph = cs.graphs.from_adjacency([[0, 2], [0, 0]])
    alone, together = after_one_round(PAIR, coupling=0.0), after_one_round(PAIR, coupling=3.0, graph=graph)
    for name, start in PAIR.initial_params.items():
        pull = RATE * 3.0 / 2 * 2.0 * (start[1] - start[0])
        np.testing.assert_allclose(together[name][0] - alone[name][0], pull, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(together[name][1], alone[name][1], rtol=0, atol=ROUNDING)


# ---- what agents start from -------------------------------------------------------------------------------------


@functools.cache
def start_of(**options: Any) -> dict[str, np.ndarray]:
    """Learning nothing for a round leaves every agent at its initial parameters."""
    return final_params(cs.simulate(cs.algorithms.Isolated(learning_rate=0.0), **digits(**options)))


def test_each_agent_draws_its_own_parameters_unless_told_otherwise() -> None:
    common = start_of(common_init=True)
    for name, leaf in start_of().items():
        assert not np.array_equal(leaf[0], leaf[1])
        np.testing.assert_array_equal(common[name], np.broadcast_to(leaf[0], leaf.shape))


def test_depth_counts_hidden_layers() -> None:
    for depth in (0, 1, 3):
        assert len(cs.models.parameter_shapes(cs.models.mlp(depth=depth, width=4), (6,), 2)) == depth + 1


# ---- identity and blocks -----------------------------------------------------------------------------------------


def run_id(**options: Any) -> str | None:
    over = options.pop("over", {"coupling": [0.0, 1.0]})
    title = options.pop("title", "")
    return resolve_sweep(DiffusiveCoupling(learning_rate=0.1), over=over, title=title, **digits(**options)).run_id


def test_identity_is_content_and_not_names() -> None:
    parts = digits()
    task = parts["task"]
    renamed = cs.tasks.from_arrays(
        task.train_inputs, task.train_labels, task.test_inputs, task.test_labels, num_classes=10, name="mine"
    )
    same_graph = cs.graphs.from_adjacency(parts["graph"].adjacency, name="everybody")
    assert run_id() == run_id(task=renamed, graph=same_graph, title="another title")
    assert run_id() == run_id(over={"coupling": [0, 1]})
    others = [{"num_rounds": 2}, {"dtype": "float64"}, {"batch_size": None}, {"over": {"coupling": [0.0, 2.0]}}]
    assert len({run_id(), *(run_id(**other) for other in others)}) == 1 + len(others)


def test_functions_have_no_identity_without_a_name() -> None:
    def model(name: str | None) -> Any:
        init = lambda key: {"w": jax.random.normal(key, (64, 10))}  # noqa: E731
        return cs.models.from_functions(init, lambda p, x: x.reshape(len(x), -1) @ p["w"], name=name)

    assert run_id(model=model(None)) is None
    assert run_id(model=model("linear")) == run_id(model=model("linear")) != run_id(model=model("other"))


class Mine(DiffusiveCoupling):
    """A method that is not the package's own."""


def test_classes_of_ones_own_are_identified_by_their_source() -> None:
    from consilience.experiments import describe

    described = describe(Mine(learning_rate=0.1))["class"]
    assert described.startswith(f"{Mine.__module__}.Mine#")
    assert describe(DiffusiveCoupling(learning_rate=0.1))["class"].endswith(".DiffusiveCoupling")


def test_blocks_follow_from_the_sweep_alone() -> None:
    """At most 8 replicas; in a quench with enough couplings, those of one seed; one coupling in an adiabatic sweep."""
    over = {"coupling": [float(c) for c in range(20)], "seed": [0, 1]}
    plan = cs.experiments.plan
    quench = plan(over)
    assert quench == plan(over)
    assert [len(block.cells) for block in quench] == [7, 7, 6, 7, 7, 6]
    assert all(len({cell % 2 for cell in block.cells}) == 1 for block in quench)
    adiabatic = plan(over, protocol="adiabatic_down")
    assert [block.cells for block in adiabatic[:2]] == [(38, 39), (36, 37)]
    assert [block.follows for block in adiabatic[:3]] == [None, 0, 1]
    assert replica_limit(10, 15_910, 4) == 8


# ---- results -----------------------------------------------------------------------------------------------------


def test_servers_are_left_out_of_results() -> None:
    problem = small_problem(3, servers=[1])
    run = problem.simulate(cs.algorithms.DGD(learning_rate=0.1), num_rounds=1, observe=["loss"], roles={1: "server"})
    assert run.agent.values.tolist() == [0, 2]
    assert run.loss.sizes["agent"] == 2


def test_figures_show_the_coupling_of_equation_two() -> None:
    axes = Figure().add_subplot()
    cs.plots.coupling_axis(axes, np.array([0.0, 1.0, 300.0]))
    assert axes.get_xlabel() == r"coupling $\sigma$ of Eq. (2)"
    assert axes.get_xlim()[1] > 300


# ---- the page ----------------------------------------------------------------------------------------------------


def defined_in(path: Path) -> set[str]:
    """As pytest names them: functions, and methods behind the name of their class."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return names


def test_every_convention_names_tests_that_exist() -> None:
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(sections) > 15
    for section in sections:
        title = section.partition("\n")[0]
        named = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", section)
        assert named, f"no test holds {title!r}"
        for path, name in named:
            assert (ROOT / path).is_file(), f"{title!r} names {path}, which does not exist"
            assert name in defined_in(ROOT / path), f"{title!r} names {path}::{name}, which does not exist"


def test_every_test_of_a_convention_is_on_the_page() -> None:
    own = defined_in(Path(__file__))
    tests = {name for name in own if name.startswith("test_") and not name.startswith("test_every_")}
    missing = [name for name in sorted(tests) if f"::{name}`" not in PAGE.read_text(encoding="utf-8")]
    assert not missing
