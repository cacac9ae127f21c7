# ruff: noqa: F811 (tests name the fixtures that they import)
"""What commands do: run, keep, list, show, draw, explain, check, reproduce, predict and compare."""

import dataclasses
import functools
import importlib
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from commands import (  # noqa: F401 (fixtures)
    COMPARE,
    FIGURE,
    FIGURE_2,
    PREDICT,
    SPEC,
    Command,
    Done,
    assert_one_paragraph,
    command,
    compiled_programs,
    no_computing,
    private,
    spec,
)

import consilience as cs
from consilience.cli.catalog import KINDS
from consilience.experiments import Computation, TransitionPrediction, compute, resolve_spec
from consilience.experiments.spec import EXAMPLE
from consilience.store import Store

# ---- run, sweep, list, show, plot --------------------------------------------------------------------------------


def test_a_run_is_stored_and_loaded(command: Command, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = command("run", spec)
    assert first.code == 0
    assert "tiny: 100%" in first.err
    lines = first.out.splitlines()
    assert lines[0] == "tiny"
    assert lines[1].split() == ["coupling", "accuracy", "loss", "outcome"]
    assert [line.split()[0] for line in lines[2:4]] == ["30", "0"]
    assert lines[-1].startswith(f"stored:  {Path('store').absolute()}, run ")

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("this should have been loaded")

    monkeypatch.setattr(importlib.import_module("consilience.experiments.sweep"), "run_ensemble", refuse)
    second = command("run", spec)
    assert second.out == first.out
    assert "tiny: 100% (from the store)" in second.err
    result = command("run", spec, "--json").json
    assert result["run_id"].startswith(lines[-1].rpartition(" ")[2])
    assert [row["coupling"] for row in result["rows"]] == [30.0, 0.0]
    assert result["attrs"]["spec"]["experiment"]["num_rounds"] == 20
    over = ["--over", "coupling=30,0", spec]
    assert command("sweep", *over, "--json").json["run_id"] == result["run_id"]
    with pytest.raises(AssertionError, match="loaded"):
        command("run", spec, "--force")
    attempts = Path("store/runs", result["run_id"]).glob("attempt-*")
    assert sorted(path.name for path in attempts) == ["attempt-0001", "attempt-0002"]


def test_changes_of_a_spec_are_other_runs(command: Command, spec: Path) -> None:
    plain = command("run", spec, "--json").json
    brackets = "[bold]a [task]"  # shown as it is
    changes = ["--set", "algorithm.weight_decay=0.5", "--set", f"title={brackets}"]
    assert command("run", spec, *changes).out.splitlines()[0] == brackets
    changed = command("run", spec, *changes, "--json").json
    assert changed["run_id"] != plain["run_id"]
    assert changed["rows"][0]["loss"] != plain["rows"][0]["loss"]
    assert changed["attrs"]["title"] == brackets
    assert brackets in command("list").out
    swept = command("sweep", "--over", "weight_decay=0.5,0.0", spec, "--set", "algorithm.coupling=30.0", "--json").json
    assert [row["weight_decay"] for row in swept["rows"]] == [0.5, 0.0]
    # The same replica in a block of the same shape.
    assert swept["rows"][0]["loss"] == changed["rows"][0]["loss"]
    runs = command("list", "--json").json
    assert [one["title"] for one in runs] == ["tiny", brackets, "tiny"]
    assert {one["id"] for one in runs} == {plain["run_id"], changed["run_id"], swept["run_id"]}
    assert all((one["cells_done"], one["cells_total"], one["problem"]) == (1, 1, None) for one in runs)


def test_stored_runs_are_listed_shown_and_drawn(command: Command, spec: Path) -> None:
    assert "No runs in" in command("list").err
    assert command("list", "--json").json == []
    done = command("run", spec, "--json")
    number = done.json["run_id"]
    listed = command("list").out
    assert number[:12] in listed
    assert "1/1" in listed
    assert "tiny" in listed
    shown = command("show", number[:6])
    assert shown.code == 0
    assert shown.out.startswith(f"run {number}\n")
    assert "num_rounds: 20" in shown.out
    assert "blocks 1 of 1" in shown.out
    assert command("show").out == shown.out
    machine = command("show", "--json").json
    assert machine["id"] == number
    assert machine["rows"] == done.json["rows"]
    assert machine["record"]["title"] == "tiny"
    drawn = command("plot", "--output", "pictures")
    assert drawn.code == 0
    paths = [Path(line.removeprefix("figure: ")) for line in drawn.out.splitlines()]
    assert [path.suffix for path in paths] == [".png", ".svg"]
    assert all(path.stat().st_size > 5000 and path.parent == Path("pictures") for path in paths)
    assert_one_paragraph(command("show", "zzz"), "'zzz' is not a run in the store")


def test_a_run_over_rounds_is_drawn_and_one_without_any_axis_is_refused(command: Command, spec: Path) -> None:
    spec.write_text(SPEC.replace("average_after = 10\n", "").replace("coupling = [30.0, 0.0]", "seed = [0, 1]"))
    done = command("run", spec)
    assert done.out.splitlines()[1].split() == ["seed", "accuracy", "loss", "outcome"]
    assert command("plot").code == 0
    assert command("run", spec, "--set", "run.average_after=10").code == 0
    assert_one_paragraph(command("plot"), "no observable of the agents along 'coupling' or 'round' to draw")


def test_an_unfinished_run_is_shown_and_not_drawn(command: Command, spec: Path) -> None:
    arguments = ["run", spec, "--set", "over.coupling=[0.0, 1.0, 2.0, 3.0]", "--set", "over.seed=[0, 1]"]
    assert command(*arguments).code == 0
    (kept,) = Path("store").glob("runs/*/attempt-0001")
    shutil.rmtree(kept / "cells" / "block-0001")
    assert "1/2" in command("list").out
    shown = command("show")
    assert shown.code == 0
    assert "blocks 1 of 2" in shown.out
    assert command("show", "--json").json["rows"] == []
    assert_one_paragraph(command("plot"), "is not complete", "Run the command that made it again")
    shutil.rmtree(kept / "cells" / "block-0000")
    assert_one_paragraph(command("show"), "has no finished block yet", code=1)
    assert command(*arguments).code == 0
    assert command("plot").code == 0


# ---- what there is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "runs"])
def test_things_are_listed_with_what_they_are(command: Command, kind: str) -> None:
    members = command("list", kind, "--json").json
    assert members
    listed = command("list", kind).out
    if kind == "algorithms":
        members = {name: told["summary"] for name, told in members.items()}
    for name, summary in members.items():
        assert f"{name} " in listed
        assert summary in listed
        if kind != "datasets":
            assert len(summary) > 15
            if kind == "algorithms" and not name.startswith(("d", "m")):
                continue  # each takes a moment, since its bits are counted
            explained = command("explain", name)
            assert explained.code == 0
            assert explained.out.startswith(f"{name}\n\n")
            assert len(explained.out) > len(name) + 20


def test_the_example_spec_is_explained_and_runs(command: Command) -> None:
    explained = command("explain", "spec").out
    assert explained == EXAMPLE
    assert len(resolve_spec(tomllib.loads(explained)).cells) == 12


def test_data_sets_are_where_they_are(command: Command) -> None:
    listed = command("data").out
    assert all(name in listed for name in cs.tasks.DATA_SETS)
    assert "embedded" in listed
    machine = {one["name"]: one for one in command("data", "--json").json}
    assert machine["digits"]["location"] == "embedded"
    assert machine["mnist"]["location"] == ""


METHOD = """
from __future__ import annotations

from typing import ClassVar

from consilience.algorithms import DGD

class Mine(DGD):
    kind: ClassVar[str] = "mine"

good, bad, other = Mine(learning_rate=0.1), Mine(learning_rate=0.2), 3
"""


@dataclasses.dataclass
class Report:
    """What the conformance suite, which has tests of its own, says of a method."""

    method: Any

    @property
    def passed(self) -> bool:
        return self.method.learning_rate < 0.15

    def __str__(self) -> str:
        return f"{type(self.method).__name__}: {'passed' if self.passed else '[failed]'}"


def test_methods_are_checked(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consilience.algorithms.check", Report)
    Path("methods.py").write_text(METHOD)
    assert command("check", "methods.py:good") == Done(0, "Mine: passed\n", "")
    assert command("check", "methods.py:bad") == Done(1, "Mine: [failed]\n", "")
    entries = cs.algorithms.catalog().values()
    assert command("check").out == "".join(f"{type(entry.example()).__name__}: passed\n" for entry in entries)
    assert command("check", "dgd").out == "DGD: passed\n"
    assert_one_paragraph(command("check", "methods.py:other"), "'other' in methods.py is 3", "must be an instance of")
    assert_one_paragraph(command("check", "methods.py:missing"), "'missing' in methods.py is None")
    Path("broken.py").write_text("1 +")
    assert_one_paragraph(command("check", "broken.py:x"), "broken.py does not run: SyntaxError")
    Path("text.txt").touch()
    assert_one_paragraph(command("check", "text.txt:x"), "text.txt is not a Python file")


# ---- reproduce ---------------------------------------------------------------------------------------------------


def test_a_figure_is_reproduced_and_loaded(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    first = command("reproduce", "figure-3", *FIGURE, "--output", "pictures", "--store", "results")
    assert first.code == 0
    for text in ("digits, D = 0, quench", "digits, D = 1, quench", "σ", "⟨A⟩", "⟨L⟩", "⟨m⟩", "symmetry", "column",
                 "critical coupling σ_c", "n = 2 realizations", "R²", "16 completed", "stored:  results"):  # fmt: skip
        assert text in first.out, text
    for suffix in ("png", "svg"):
        assert Path(f"pictures/figure-3-digits-quick.{suffix}").stat().st_size > 20_000
    assert len(Store("results").runs()) == 2

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("this should have been loaded")

    monkeypatch.setattr(importlib.import_module("consilience.experiments.sweep"), "run_ensemble", refuse)
    # Without --quick the time is estimated first; here there is nothing left to do.
    again = command("reproduce", "figure-3", "--dataset", "digits", *FIGURE[1:], "--store", "results", "--json")
    assert "for 0 blocks (4 more are stored)" in again.err
    assert again.code == 0
    assert again.err.count("(from the store)") == 2
    result = again.json
    assert len(result["rows"]) == 8
    assert result["config"]["couplings"] == [0.0, 3.2, 30.0, 300.0]
    assert set(result["critical_couplings"]["quench"]) == {"D = 0", "D = 1"}
    assert result["outcomes"] == {"completed": 16}
    assert set(result["symmetry_index"]) == {"D = 0", "D = 1"}
    assert result["store"] == "results"
    assert [Path(path).suffix for path in result["figures"]] == [".png", ".svg"]
    shown = [line.split()[1:4] for line in first.out.splitlines() if line.startswith("30 ")]
    assert float(shown[0][0]) == pytest.approx(result["rows"][2]["accuracy"], abs=5e-4)  # printed with three digits


# ---- theory: reproduce, list, show and plot ----------------------------------------------------------------------


def test_a_figure_of_the_theory_is_reproduced_and_loaded(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    first = command("reproduce", "figure-2", *FIGURE_2, "--output", "pictures", "--store", "results")
    assert first.code == 0
    for text in ("theory, D = 0, quench", "theory, D = 2, adiabatic up", "σ̂", "|⟨m⟩|", "⟨L̂⟩", "χ", "None diverged",
                 "n = 3 realizations", "D = 0  quench         does not depend on", "stored:  results"):  # fmt: skip
        assert text in first.out, text
    assert first.err == "figure-2: 100%\n"
    for suffix in ("png", "svg"):
        assert Path(f"pictures/figure-2-quick.{suffix}").stat().st_size > 20_000

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("this should have been loaded")

    monkeypatch.setattr("consilience.theory.landau.sweep", refuse)
    again = command("reproduce", "figure-2", *FIGURE_2, "--store", "results", "--json")
    assert again.code == 0
    assert again.err == "figure-2: 100% (from the store)\n"
    result = again.json
    assert len(result["rows"]) == 4 * 4
    assert result["config"]["couplings"] == [0.0, 0.5, 3.0, 30.0]
    shown = [line.split() for line in first.out.splitlines() if line.startswith("30 ")]
    assert float(shown[0][1]) == pytest.approx(result["rows"][3]["abs_magnetization"], abs=5e-4)  # three digits
    with pytest.raises(AssertionError, match="loaded"):
        command("reproduce", "figure-2", *FIGURE_2, "--store", "results", "--force")


def test_a_stored_computation_is_listed_and_shown_and_its_figure_has_a_command(command: Command) -> None:
    config = cs.recipes.figure_2.Figure2(
        couplings=(0.0, 0.5, 3.0, 30.0), num_agents=10, num_realizations=3, adiabatic=(2,), spans=(10.0,),
        wait_depths=(1,), offsets=(0.0,),
    )  # fmt: skip
    compute(cs.recipes.figure_2.computation(config), store="store")
    (listed,) = command("list", "--json").json
    assert (listed["title"], listed["cells_done"], listed["cells_total"], listed["problem"]) == ("figure-2", 6, 6, None)
    assert "6/6" in command("list").out
    shown = command("show")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0] == f"run {listed['id']}"
    for text in ("  subject: landau.sweep", "  config.num_agents: 10", "  config.couplings: [0.0, 0.5, 3.0, 30.0]"):
        assert text in lines
    assert "figure-2: cells 6 of 6" in shown.out
    (quench,) = [line for line in lines if line.startswith("quench,D=1")]
    assert quench.split(maxsplit=1)[1].split() == [
        "coupling", "4,", "seed", "3", "magnetization(coupling,", "seed),", "loss(coupling,", "seed),",
        "outcome(coupling,", "seed)",
    ]  # fmt: skip
    machine = command("show", listed["id"][:8], "--json").json
    assert machine["spec"]["computation"]["config"]["num_agents"] == 10
    assert machine["record"]["title"] == "figure-2"
    assert machine["cells"]["quench,D=1"]["loss"] == {"coupling": 4, "seed": 3}
    assert len(machine["cells"]) == 6
    done = command("plot")
    assert_one_paragraph(done, f"Run {listed['id'][:12]} (figure-2)", "`consilience reproduce figure-2` draws it")
    (kept,) = Path("store").glob("runs/*/attempt-0001/cells/quench,D=1")
    shutil.rmtree(kept)
    shown = command("show").out
    assert "figure-2: cells 5 of 6" in shown
    assert [line.split() for line in shown.splitlines() if line.startswith("quench,D=1")] == [
        ["quench,D=1", "not", "finished"]
    ]
    assert "quench,D=1" not in command("show", "--json").json["cells"]


def test_a_computation_of_ones_own_is_shown(command: Command) -> None:
    cells = {"a": lambda: xr.Dataset({"value": ("seed", np.zeros(2))}), "b": lambda: xr.Dataset({"value": 1.0})}
    parameters = {"graph": cs.graphs.cycle(3), "grid": list(range(1000))}
    compute(Computation("[bold]mine", "tests", parameters, cells), store="store")
    shown = command("show").out
    assert "  grid: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1 … (1000 values)" in shown
    assert "  graph.graph.shape: [3, 3]" in shown
    assert "[bold]mine: cells 2 of 2" in shown  # no markup
    assert_one_paragraph(command("plot"), "([bold]mine)", "The command that made it draws it")


# ---- predict -----------------------------------------------------------------------------------------------------


def test_a_transition_is_predicted(command: Command) -> None:
    done = command(*PREDICT, "--depth", 1)
    assert done.code == 0
    assert done.err == "measuring the disorder of 10 shards of digits, and solving the theory ...\n"
    lines = done.out.splitlines()
    assert "digits on complete(10): the collective phase, in the σ of Eq. (2)" in lines
    (order,) = [line for line in lines if line.startswith("1  ") and "order |⟨m⟩|" in line]
    found = command(*PREDICT, "--depth", 1, "--json").json
    assert [(row["depth"], row["quantity"]) for row in found["transitions"]] == [(1, "order"), (1, "gain")]
    row = found["transitions"][0]
    assert row["has_transition"]
    assert order.split()[3:5] == [f"{row['share_alone']:.0%}", f"{row['onset']:.3g}" if row["onset"] > 1 else "<"]
    assert len(row["onset_of_definitions"]) == 18
    assert row["onset_grid"][0] <= row["onset"] <= row["onset_grid"][1]
    assert found["couplings"] == [0.0, 1.0, 10.0, 100.0]
    assert found["graph"] == "complete(10)"
    classes = found["learning_order"]
    assert sorted(one["agent"] for one in classes) == list(range(10))
    assert [one["delta"] for one in classes] == sorted((one["delta"] for one in classes), reverse=True)
    assert all(1 <= one["earliest"] <= one["latest"] <= 10 and one["delta_error"] > 0 for one in classes)
    ranks = lines[lines.index("the order in which the agents' data are learned by the others") + 2 :][:10]
    assert [line.split()[:2] for line in ranks] == [[str(k + 1), str(one["agent"])] for k, one in enumerate(classes)]
    assert "The parameters diverge beyond σ = 400 (learning rate 0.005)" in done.out
    assert "`consilience compare`" in done.out


@dataclasses.dataclass
class Asked:
    """What `predict_transition` was asked, and what it is made to answer."""

    arguments: list[dict[str, Any]]
    answer: TransitionPrediction


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    coords = {"case": ["mine"], "depth": [0, 1], "coupling": [0.0, 1.0, 10.0, 100.0], "seed": [0, 1]}
    # At depth 0 nothing happens; at depth 1 all of it happens before the second coupling, and does not end.
    order = np.repeat(np.array([[[0.5] * 4, [0.1, 0.9, 0.9, 0.9]]])[..., None], 2, axis=3)
    gain = np.repeat(np.array([[[0.5] * 4, [0.1, 0.1, 0.9, 0.1]]])[..., None], 2, axis=3)
    dims = tuple(coords)
    delta = xr.DataArray([[0.3, 0.7]], {"definition": ["mine"], "agent": [0, 1]}, ("definition", "agent"))
    one = delta.isel(definition=0, drop=True)
    answer = TransitionPrediction(
        xr.Dataset({"delta": one, "delta_error": one, "second_moment": one}, attrs={"task": "invented"}),
        xr.Dataset({"delta": delta}),
        xr.Dataset({"order": (dims, order), "gain": (dims, gain)}, coords),
        "complete(2)",
    )
    state = Asked([], answer)

    @functools.wraps(cs.experiments.predict_transition)
    def predict(task: Any, shards: Any, **options: Any) -> TransitionPrediction:
        state.arguments.append({"task": task, "shards": shards, **options})
        return state.answer

    monkeypatch.setattr("consilience.experiments.predict_transition", predict)
    return state


def test_depths_may_be_written_in_three_ways(command: Command, asked: Asked) -> None:
    for depths in (["0", "1", "2"], ["--depth", "0", "--depth", "1", "--depth", "2"], ["--depth", "0", "1", "2"], []):
        assert command("predict", "transition", *depths).code == 0
    assert command("predict", "transition", "--depth", 2, "0", "--depth", 2, "0").code == 0
    assert [one["depths"] for one in asked.arguments] == [[0, 1, 2]] * 4 + [[2, 0]]


def test_the_population_of_a_prediction_is_chosen(command: Command, asked: Asked) -> None:
    def options(*arguments: object) -> dict[str, Any]:
        assert command("predict", "transition", *arguments).code == 0
        return asked.arguments[-1]

    plain = options()
    assert (plain["task"].name, plain["graph"].name, plain["shards"].name) == ("digits", "complete(10)", "by_class")
    assert options("--graph", "cycle")["graph"].name == "cycle(10)"
    assert options("--graph", "random_regular", "--set", "graph.degree=4")["graph"].degrees.tolist() == [4.0] * 10
    assert options("--agents", 5)["shards"].num_agents == options("--agents", 5)["graph"].num_agents == 5
    mixed = options("--partition", "dirichlet", "--set", "partition.alpha=0.5", "--set", "partition.seed=3")
    expected = cs.tasks.dirichlet(plain["task"], 10, alpha=0.5, seed=3)
    assert all((a == b).all() for a, b in zip(mixed["shards"], expected, strict=True))
    assert options("--set", "task.num_train=300")["task"].num_train == 300
    number = options("--set", "learning_rate=0.1", "--set", "num_rounds=7", "--set", "couplings=[0, 1.5]")
    assert (number["learning_rate"], number["num_rounds"], number["couplings"]) == (0.1, 7, [0, 1.5])
    Path("edges.csv").write_text("source,target\n" + "".join(f"{k},{(k + 1) % 10}\n" for k in range(10)))
    ring = options("--graph", "edges.csv", "--set", "graph.directed=false")["graph"]
    assert ring.num_edges == 10


def test_what_is_not_resolved_is_not_claimed(command: Command, asked: Asked) -> None:
    rows = [line.split() for line in command("predict", "transition").out.splitlines() if line[:3] in ("0  ", "1  ")]
    assert rows[0][:6] == ["0", "order", "|⟨m⟩|", "100%", "no", "transition"]
    assert rows[2][3:] == ["11%", "<", "1", "–", "–", "0.5", "–", "0.5", "(1)", ">", "100"]
    assert rows[3][5:8] == ["11%", "3.16", "3.16"]
    found = command("predict", "transition", "--json").json["transitions"]
    assert [row["has_transition"] for row in found] == [False, False, True, True]
    assert (found[0]["onset"], found[0]["end"], found[0]["onset_interval"]) == (None, None, [None, None])
    assert found[2]["onset_grid"] == [0.0, 1.0]


def test_the_stability_limit_is_that_of_the_graph_and_the_learning_rate(command: Command, asked: Asked) -> None:
    out = command("predict", "transition", "--set", "learning_rate=0.05").out
    assert "The parameters diverge beyond σ = 40 (learning rate 0.05)" in out


# ---- compare -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_theory_and_simulation_are_compared_and_loaded(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    first = command("compare", *COMPARE, "--output", "pictures", "--store", "results")
    assert first.code == 0
    assert "measured on 40 rounds of each sweep" in first.err
    for text in ("critical coupling σ_c", "order of learning: ρ of δ", "theory: Gaussian", "n = 2", "stored:  results"):
        assert text in first.out, text
    for suffix in ("png", "svg"):
        assert Path(f"pictures/theory-and-experiment-digits.{suffix}").stat().st_size > 20_000
    assert [summary.title for summary in Store("results").runs()] == ["figure-3 digits D = 1 quench"]

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("this should have been loaded")

    monkeypatch.setattr(importlib.import_module("consilience.experiments.sweep"), "run_ensemble", refuse)
    again = command("compare", *COMPARE, "--store", "results", "--json")
    assert "(from the store)" in again.err
    (row,) = again.json["rows"]
    assert (row["dataset"], row["depth"]) == ("digits", 1)
    assert -1 <= row["learning_order"]["value"] <= 1
    assert f"{row['learning_order']['value']:.2f}" in first.out
    assert len(row["learning_order_over_definitions"]) == 18


def test_algorithms_are_listed_by_what_they_need(command: Command) -> None:
    def names(needs: str) -> set[str]:
        return set(command("list", "algorithms", "--needs", needs, "--json").json)

    assert {"choco_sgd", "gradient_tracking"} <= names("doubly_stochastic")
    assert names("tree") == {"relay_sum"}
    assert "push_sum" in names("column_stochastic")
    assert names("nothing").isdisjoint(names("complete"))
    assert_one_paragraph(command("list", "algorithms", "--needs", "trees"), "Did you mean 'tree'")
    assert_one_paragraph(command("list", "graphs", "--needs", "tree"), "chooses among algorithms")


def test_methods_are_cited(command: Command) -> None:
    assert command("explain", "choco_sgd", "--cite").out.startswith("@inproceedings{koloskova2019,")
    assert command("explain", "matcha", "--cite").code == 0
    assert_one_paragraph(command("explain", "cycle", "--cite"), "is not a method with a source to cite")
