# ruff: noqa: F811 (tests name the fixtures that they import)
"""`consilience compare algorithms`, and that `consilience compare` alone is what it was."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest
from commands import (  # noqa: F401 (fixtures)
    Command,
    assert_one_paragraph,
    command,
    compiled_programs,
    no_computing,
    private,
)

from consilience.recipes import methods

TINY = [
    "compare", "algorithms", "dgd", "choco_sgd", "--quick", "--graph", "cycle", "--budget", "rounds=20", "--rates",
    "0.01,0.1,1", "--seeds", "2", "--set", "num_tuning_seeds=1", "--set", "num_train=200", "--set", "num_test=60",
    "--set", "depth=0", "--set", "num_records=4", "--set", "choco_sgd.consensus_step=0.2",
]  # fmt: skip


@pytest.mark.slow
def test_methods_are_compared_and_loaded(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    first = command(*TINY, "--output", "pictures", "--store", "results")
    assert first.code == 0, first.err
    for text in (
        "digits, by_class, cycle(10), budget rounds=20", "accuracy (n = 2)", "consensus distance", "consensus_step=0.2",
        "There is no validation split", "stored:  results",
    ):  # fmt: skip
        assert text in first.out, text
    for suffix in ("png", "svg"):
        assert Path(f"pictures/methods-digits-cycle-by_class.{suffix}").stat().st_size > 20_000

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("this should have been loaded")

    monkeypatch.setattr(importlib.import_module("consilience.experiments.sweep"), "run_ensemble", refuse)
    again = command(*TINY, "--store", "results", "--json")
    assert again.code == 0, again.err
    rows = again.json["rows"]
    assert [row["method"] for row in rows] == ["dgd", "choco_sgd"]
    assert f"{rows[0]['accuracy']:.3f}" in first.out
    assert rows[0]["bits"] == 20 * 20 * 650 * 32  # rounds, links, parameters, bits of a number


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[methods.Methods]:
    """The protocols that are run, without running them."""
    found: list[methods.Methods] = []

    def remember(recipe: Any, config: Any, assignments: list[str], *_: Any, **__: Any) -> None:
        assert recipe.name == "methods"
        assert assignments == ["width=50"]
        found.append(config)

    monkeypatch.setattr(importlib.import_module("consilience.cli.compare"), "carry_out", remember)
    return found


def test_options_make_the_protocol(command: Command, planned: list[methods.Methods]) -> None:
    done = command(
        "compare", "algorithms", "dgd", "isolated", "--graph", "{family = 'torus', rows = 2, columns = 4}",
        "--partition", "dirichlet", "--dataset", "fashion_mnist", "--agents", 8, "--budget", "bits=1e9", "--rates",
        "0.1,0.2", "--seeds", 7, "--set", "partition.alpha=0.3", "--set", "width=50",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert planned == [
        dataclasses.replace(
            methods.Methods(), methods=("dgd", "isolated"), graph="{family = 'torus', rows = 2, columns = 4}",
            partition="dirichlet", dataset="fashion_mnist", num_agents=8, budget="bits=1e9", rates=(0.1, 0.2),
            num_seeds=7, settings=("partition.alpha=0.3",),
        )
    ]  # fmt: skip


def test_what_is_left_out_is_the_default(command: Command, planned: list[methods.Methods]) -> None:
    assert command("compare", "algorithms", "dgd", "--set", "width=50").code == 0
    assert command("compare", "algorithms", "dgd", "--quick", "--set", "width=50").code == 0
    assert planned == [
        dataclasses.replace(config, methods=("dgd",)) for config in (methods.Methods(), methods.quick())
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["dgdd"], ["Did you mean 'dgd'", "Known: "]),
        (["dgd", "--dataset", "mnits"], ["Did you mean 'mnist'"]),
        (["dgd", "--graph", "cicle"], ["Did you mean 'cycle'"]),
        (["dgd", "--partition", "dirichle"], ["Did you mean 'dirichlet'"]),
        (["dgd", "--budget", "round=3"], ["Did you mean 'rounds'"]),
        (["dgd", "--set", "dgd.weight_decy=3"], ["Did you mean 'weight_decay'"]),
        (["dgd", "--set", "num_seed=3"], ["Did you mean 'num_seeds'"]),
        (["dgd", "dgd"], ["each of them once"]),
        (["dgd", "--rates", "0.1;0.2"], ["Write --rates 0.003,0.01,0.03"]),
        (["dgd", "--partition", "dirichlet"], ["missing a required argument: 'alpha'"]),
        (["federated_averaging", "--graph", "cycle"], ["federated_averaging: ", "is not the complete graph"]),
        (["dgd", "--budget", "bits=1"], ["does not pay for one round of dgd"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_mistakes_are_one_paragraph(
    command: Command, no_computing: None, arguments: list[str], parts: list[str]
) -> None:
    assert_one_paragraph(command("compare", "algorithms", "--quick", *arguments), *parts)


def test_options_in_the_wrong_place_are_not_ignored(command: Command, no_computing: None) -> None:
    done = command("compare", "--quick", "algorithms", "dgd")
    assert_one_paragraph(done, "--quick stands before 'algorithms'", "compare algorithms ... --quick")


def test_a_comparison_needs_methods(command: Command) -> None:
    done = command("compare", "algorithms")
    assert done.code == 2
    assert "Missing argument 'METHOD'" in done.err


def test_compare_alone_holds_theory_against_simulations(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    compare = importlib.import_module("consilience.cli.compare")
    monkeypatch.setattr(compare, "carry_out", lambda recipe, config, *_, **__: seen.append((recipe.name, config)))
    assert command("compare", "--dataset", "digits").code == 0
    ((name, config),) = seen
    assert name == "theory-and-experiment"
    assert config.datasets == ("digits",)


def test_both_have_help(command: Command) -> None:
    theory, algorithms = command("compare", "--help"), command("compare", "algorithms", "--help")
    assert "Usage: consilience compare [OPTIONS]" in theory.out
    assert " algorithms " in theory.out
    assert "Usage: consilience compare algorithms [OPTIONS] {METHOD}..." in algorithms.out
