# ruff: noqa: F811 (tests name the fixtures that they import)
"""`consilience predict rounds`: what it prints, and what it says to mistakes."""

import math
from pathlib import Path

import numpy as np
import pytest
from commands import Command, assert_one_paragraph, command, compiled_programs, private  # noqa: F401 (fixtures)

from consilience.experiments.candidates import candidate_graphs
from consilience.graphs import cycle, path

ROUNDS = ["predict", "rounds", "--agents", "4", "--samples", "8", "--width", "infinite", "--set", "task.num_test=60"]


def lines_after(text: str, title: str, count: int) -> list[list[str]]:
    lines = text.splitlines()
    start = lines.index(next(line for line in lines if line.startswith(title)))
    return [line.split() for line in lines[start + 2 : start + 2 + count]]


def test_all_is_said(command: Command) -> None:
    done = command(*ROUNDS, "--learning-rate", "0.2", "--target-loss", "0.3")
    assert done.code == 0, done.err
    assert "linearising" in done.err
    out = done.out
    assert "digits, odd or even: 4 agents with 8 samples each (by_class), 60 test samples" in out
    assert "InfiniteWidthKernel(depth=1" in out
    assert "dgd with W = metropolis(cycle(4)), η = 0.2\n" in out
    assert "target: test loss ≤ 0.3\n" in out
    found = command(*ROUNDS, "--learning-rate", "0.2", "--target-loss", "0.3", "--json").json
    rows = lines_after(out, "rounds to the target", 4)
    assert [row[0] for row in rows] == ["0", "1", "2", "3"]
    rounds = [one["rounds"] for one in found["agents"]]
    assert f"The slowest is agent {found['slowest']}, after {max(rounds):.0f} rounds" in out
    assert found["slowest"] == int(np.argmax(rounds))
    for row, one in zip(rows, found["agents"], strict=True):
        assert f"{one['rounds']:.0f}" in row
        assert 0 < one["rounds"] < 1000
        assert one["rounds_alone"] is None
        assert one["limit"] < 0.3 < one["limit_alone"]
        assert one["initial_loss"] == pytest.approx(0.5)  # outputs are 0, targets ±1
        assert sum(one["samples_by_class"]) == 8
    stability = found["stability"]
    assert stability["is_stable"]
    assert 0.2 < stability["largest_learning_rate"] < 2
    assert f"of the largest stable one, {stability['largest_learning_rate']:.4g}" in out
    assert all(f"- {reason}" in out for reason in stability["reasons"])
    assert "modes of a round, by their pace" in out
    assert found["modes"][0]["rounds"] == max(one["rounds"] for one in found["modes"])
    assert sum(one["error_share"] for one in found["modes"]) == pytest.approx(1, abs=0.02)
    assert "trained on full batches" in out
    assert "1/width" in out
    assert np.array(found["mixing_weights"]).sum(axis=1) == pytest.approx(1)
    assert "candidates" not in found


def test_defaults_are_said(command: Command) -> None:
    done = command(*ROUNDS)
    assert "(half of the largest stable one)" in done.out
    assert "target: test loss ≤ 0.25 (half of what it is at the start)" in done.out
    found = command(*ROUNDS, "--json").json
    assert found["learning_rate"] == pytest.approx(found["stability"]["largest_learning_rate"] / 2)


def test_a_network_of_finite_width(command: Command) -> None:
    found = command(*ROUNDS, "--width", "16", "--learning-rate", "0.2", "--json").json
    assert found["model"] == "ntk_mlp(depth=1, width=16)"
    assert found["num_parameters"] == 64 * 16 + 16 + 16 + 1


@pytest.mark.slow
def test_the_seed_decides_on_parameters_and_samples(command: Command) -> None:
    finite = [*ROUNDS, "--width", "64", "--learning-rate", "0.2", "--json"]
    first, again, other = command(*finite).json, command(*finite).json, command(*finite, "--seed", "1").json
    assert {**first, "wall_seconds": 0} == {**again, "wall_seconds": 0}
    assert first["agents"] != other["agents"]


def test_candidates_and_a_recommendation(command: Command) -> None:
    # Three agents form no directed graph, whose stability limits take long.
    three = [*ROUNDS, "--agents", "3", "--samples", "20", "--target-loss", "0.35", "--learning-rate", "0.2", "--sweep"]
    done, found = command(*three), command(*three, "--json").json
    assert done.code == 0, done.err
    candidates, choice = found["candidates"], found["recommendation"]
    graphs = [graph.name for graph in candidate_graphs(cycle(3))]
    assert list(dict.fromkeys(one["graph"] for one in candidates)) == graphs
    assert len(candidates) == 4 * len(graphs)
    assert choice["sentence"] in done.out
    rows = lines_after(done.out, "candidates: until", len(candidates))
    assert rows[choice["best"]][-1] in ("best", "rounds", "messages")
    assert "best" in " ".join(rows[choice["best"]])
    arrived = [one for one in candidates if one["rounds"] is not None and one["share_of_limit"] <= 0.8]
    best, fastest, thriftiest = (candidates[choice[name]] for name in ("best", "fewest_rounds", "fewest_messages"))
    assert fastest["rounds"] == min(one["rounds"] for one in arrived)
    assert thriftiest["messages"] == min(one["messages"] for one in arrived)
    assert best["rounds"] * best["messages"] == min(one["rounds"] * one["messages"] for one in arrived)
    for one in arrived:
        assert one["messages"] == one["rounds"] * one["messages_per_round"]
    own = next(one for one in candidates if one["graph"] == "cycle(3)" and one["learning_rate"] == 0.2)
    assert own["rounds"] == max(one["rounds"] for one in found["agents"])
    assert own["messages_per_round"] == 6


def test_beyond_the_stability_limit_it_says_so(command: Command) -> None:
    done = command(*ROUNDS, "--learning-rate", "20", "--max-rounds", "500")
    assert done.code == 0
    assert "η = 20 is beyond the largest stable learning rate" in done.out
    assert "rounds diverge" in done.out
    assert "Write --learning-rate" in done.out
    assert done.out.count("diverges") == 8
    found = command(*ROUNDS, "--learning-rate", "20", "--json").json
    assert found["outcome"]["outcome"] == "diverged"
    assert not found["stability"]["is_stable"]
    assert found["modes"] is None


def test_targets_that_are_met_at_once_or_never(command: Command) -> None:
    assert "Every agent is at the target before the first round." in command(*ROUNDS, "--target-loss", "7").out
    done = command(*ROUNDS, "--target-loss", "0.001", "--max-rounds", "64")
    assert "4 of 4 agents do not arrive" in done.out
    assert "> 64 (" in done.out
    assert "rounds do not help, more data may" in done.out


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--coupling", "20"], ["W = diffusive(cycle(4)", "coupling=20"]),
        (["--algorithm", "atc", "--graph", "star"], ["atc with W = metropolis(star(4))"]),
        (
            ["--algorithm", "cta", "--graph", "star", "--of", "objective"],
            ["cta with", "target: loss on everybody's data"],
        ),
        (["--weight-decay", "0.01", "--of", "train"], ["γ = 0.01", "target: train loss (own data)"]),
        pytest.param(["--graph", "exponential"], ["W = row_stochastic(exponential(4))"], marks=pytest.mark.slow),
        (["--partition", "iid", "--depth", "2"], ["(iid)", "depth=2"]),
        (["--targets", "one-hot"], ["digits, one-hot: 4 agents"]),
    ],
)
def test_what_can_be_chosen(command: Command, options: list[str], parts: list[str]) -> None:
    done = command(*ROUNDS, *options)
    assert done.code == 0, done.err
    assert all(part in done.out for part in parts), done.out


def test_a_graph_from_a_file(command: Command, private: Path) -> None:
    Path("edges.csv").write_text("source,target\n0,1\n1,2\n2,3\n")
    done = command(*ROUNDS, "--graph", "edges.csv", "--set", "graph.directed=false", "--json")
    assert done.code == 0, done.err
    weights = np.array(done.json["mixing_weights"])
    assert (weights > 0).sum() == 4 + 6


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--graph", "cicle"], ["Did you mean 'cycle'"]),
        (["--algorithm", "dgdd"], ["Did you mean 'dgd'"]),
        (["--of", "tests"], ["Did you mean 'test'"]),
        (["--targets", "one-hat"], ["Did you mean 'one-hot'"]),
        (["--dataset", "digit"], ["Did you mean 'digits'"]),
        (["--set", "grph.degree=3"], ["Did you mean 'graph'"]),
        (["--set", "model.bias_varianc=0"], ["Did you mean 'bias_variance'"]),
        (["--set", "degree=3"], ["names no table. Write graph.degree=3"]),
        (["--target-loss", "0"], ["comes down to zero only as rounds go to infinity"]),
        (["--target-loss", "-1"], ["target=-1.0"]),
        (["--learning-rate", "0"], ["learning_rate=0.0"]),
        (["--max-rounds", "-1"], ["max_rounds=-1"]),
        (["--samples", "0"], ["num_samples=0"]),
        (["--width", "many"], ["--width many: this counts neurons", "--width infinite"]),
        (["--depth", "-1"], ["depth=-1"]),
        (["--algorithm", "atc", "--coupling", "3"], ["coupling=3 is the σ of Eq. (2)"]),
        (["--coupling", "-3"], ["coupling=-3.0"]),
        (["--agents", "2"], ["For two agents write path(2)"]),
        (["--graph", "torus"], ["'rows'", "It takes rows, columns"]),
        (["--graph", "torus", "--set", "graph.rows=2", "--set", "graph.columns=3"], ["has 6 agents", "dealt out to 4"]),
        (["--set", "model.activation=gelu"], ["not an activation with a kernel in closed form"]),
    ],
)
def test_mistakes_end_in_one_paragraph(command: Command, options: list[str], parts: list[str]) -> None:
    assert_one_paragraph(command(*ROUNDS, *options), *parts)


def test_a_kernel_that_is_too_large_says_what_fits(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consilience.experiments.deployment.LARGEST_KERNEL", 8 * 40 * 100 + 0.0)
    assert command(*ROUNDS).code == 0  # 32 · (32 + 60) numbers
    done = command(*ROUNDS, "--samples", "11")
    assert_one_paragraph(done, "44 training and 60 test samples", "at most 10 samples per agent")
    assert command(*ROUNDS, "--samples", "10").code == 0


@pytest.mark.parametrize("num_agents", range(1, 13))
def test_candidate_graphs_fit_the_agents(num_agents: int) -> None:
    found = candidate_graphs(path(num_agents))
    assert all(graph.num_agents == num_agents for graph in found)
    assert all(graph.is_connected for graph in found)
    assert len({graph.adjacency.tobytes() for graph in found}) == len(found)
    has_lattice = any(graph.name.startswith("torus") for graph in found)
    assert (
        has_lattice == any(num_agents % side == 0 for side in range(2, math.isqrt(num_agents) + 1)) or num_agents == 4
    )
