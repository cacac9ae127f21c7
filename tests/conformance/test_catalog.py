"""Every catalog entry passes the conformance suite, is documented in full, and runs in the simulator as in `run_round`.

The suite itself is tested on methods that are broken on purpose.
"""

from __future__ import annotations

import inspect
import itertools
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import consilience as cs
from consilience.algorithms import DGD, SECTIONS, Algorithm, Entry, Isolated, check, checks
from consilience.errors import InvalidSpec, UnknownName
from consilience.graphs import Graph
from registries import CATALOG, assert_simulator_equals_oracle, directed_cycle, weighted_star

every_entry = pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
compositions_slowly = pytest.mark.parametrize(
    "entry",
    # Choices of the slots of a class that is in the catalog, too.
    [pytest.param(entry, marks=[] if inspect.isclass(entry.method) else pytest.mark.slow) for entry in CATALOG],
    ids=[entry.name for entry in CATALOG],
)


@compositions_slowly
def test_entry_passes_the_conformance_suite(entry: Entry) -> None:
    report = check(entry.example())
    assert report.passed, str(report)
    assert report.num_checks == 14


@every_entry
def test_entry_is_documented(entry: Entry) -> None:
    assert entry.summary.endswith(".")
    assert tuple(entry.sections) == SECTIONS
    for name, body in entry.sections.items():
        assert body.strip(), f"{entry.name} has an empty section {name!r}"


@every_entry
def test_entry_documents_its_hyper_parameters(entry: Entry) -> None:
    documented = {line.split(":")[0].strip() for line in entry.sections["Attributes"].splitlines() if ": " in line}
    assert set(entry.representative) <= documented


def accepts(algorithm: Algorithm, graph: Graph) -> bool:
    try:
        cs.algorithms.check_pair(algorithm, graph, algorithm.default_mixing(graph))
    except cs.errors.IncompatiblePair:
        return False
    return True


def star_beside_a_directed_cycle() -> Graph:
    star, cycle = weighted_star(3).adjacency, directed_cycle(3).adjacency
    return cs.graphs.from_adjacency(np.block([[star, np.zeros((3, 3))], [np.zeros((3, 3)), cycle]]))


GRAPHS = (cs.graphs.complete(4), star_beside_a_directed_cycle(), weighted_star(4), directed_cycle(4), cs.graphs.path(4))


@compositions_slowly
def test_simulator_equals_oracle(entry: Entry) -> None:
    """On the complete graph if the method accepts it, and on one more: the worst that it accepts."""
    algorithm = entry.example()
    accepted = [graph for graph in GRAPHS if accepts(algorithm, graph)]
    assert accepted
    for graph in accepted[:2]:
        assert_simulator_equals_oracle(algorithm, graph=graph, batch_size=2 if graph is accepted[0] else None)


@pytest.mark.parametrize(
    "entry", [entry for entry in CATALOG if "complete" in entry.needs], ids=lambda entry: entry.name
)
def test_methods_that_average_over_everybody_refuse_other_graphs(entry: Entry) -> None:
    graph = weighted_star()
    algorithm = entry.example()
    with pytest.raises(cs.errors.IncompatiblePair, match="is not the complete graph"):
        cs.algorithms.check_pair(algorithm, graph, algorithm.default_mixing(graph))


@every_entry
def test_entry_cites_a_source_that_is_there(entry: Entry) -> None:
    assert entry.citations
    assert cs.algorithms.cite(*entry.citations).count("@") >= len(entry.citations)


def test_every_reference_is_cited() -> None:
    """By a method, or by a slot of one."""
    cited = {key for entry in (*CATALOG, *cs.algorithms.other_methods().values()) for key in entry.citations}
    slots = inspect.getdoc(cs.algorithms.OASISScaling) or ""
    cited |= {key for key in cs.algorithms.references() if f"[{key}]" in slots}
    assert set(cs.algorithms.references()) == cited


def test_make_knows_every_entry_and_suggests_names() -> None:
    for entry in CATALOG:
        assert type(cs.algorithms.make(entry.name, **entry.representative)) is type(entry.example())
    with pytest.raises(UnknownName, match="Did you mean 'dgd'"):
        cs.algorithms.make("dgdd")
    with pytest.raises(UnknownName, match="Did you mean 'learning_rate'"):
        cs.algorithms.make("dgd", learning_rates=0.1)
    with pytest.raises(InvalidSpec, match="lacks a hyper-parameter"):
        cs.algorithms.make("dgd")


def test_no_two_files_of_the_catalog_are_copies() -> None:
    """Of what they say they share at most a quarter.

    What does not count: imports, the heads of classes and of the interface's methods, decorators, the headings that
    every docstring has, and punctuation alone.
    """
    entries = (*cs.algorithms.catalog().values(), *cs.algorithms.other_methods().values())
    paths = {Path(inspect.getsourcefile(entry.method) or "") for entry in entries}
    prescribed = re.compile(
        r"from |import |if TYPE_CHECKING|@|class |\W*$|"
        r"def (__check_init__|emit|absorb|init|params|default_mixing|broadcast|warnings|num_local_steps)\(|"
        rf"({'|'.join(cs.algorithms.SECTIONS)}):$"
    )
    said = {
        path: [
            line.strip()
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.strip() and not prescribed.match(line.strip())
        ]
        for path in paths
    }
    for a, b in itertools.permutations(paths, 2):
        shared = sum(line in set(said[b]) for line in said[a])
        assert shared <= len(said[a]) / 4, f"{a.name} shares {shared} of its {len(said[a])} lines with {b.name}"


# ---- the suite catches what it should ---------------------------------------------------------------------------

calls = itertools.count()


class Impure(Isolated):
    """Counts its own calls, outside of its state."""

    def absorb(self, state: Any, *_: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf + 0.01 * next(calls), state)


class ChangesType(DGD):
    """Comes back in half precision."""

    def absorb(self, *arguments: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float16), super().absorb(*arguments))


class GrowsState(Isolated):
    """Remembers all that it ever was."""

    def init(self, params: Any, context: Any) -> Any:
        return [params]

    def emit(self, state: Any, *_: Any) -> Any:
        return [*state, state[-1]], ()

    def params(self, state: Any) -> Any:
        return state[-1]


class BranchesInEmit(DGD):
    """Asks in Python which round it is before it sends."""

    def emit(self, state: Any, local: Any, context: Any) -> Any:
        return state, jax.tree.map(jnp.zeros_like, state) if context.round == 0 else state


class BranchesInAbsorb(DGD):
    """Asks in Python who it is when it receives."""

    def absorb(self, state: Any, inbox: Any, local: Any, context: Any) -> Any:
        return state if context.agent == 0 else super().absorb(state, inbox, local, context)


class BranchesInInit(DGD):
    """Asks in Python who it is at the start."""

    def init(self, params: Any, context: Any) -> Any:
        return params if context.agent < 100 else jax.tree.map(jnp.zeros_like, params)


class BranchesOnItsRate(DGD):
    """Asks in Python how large its learning rate is."""

    def absorb(self, *arguments: Any) -> Any:
        return super().absorb(*arguments) if self.learning_rate > 0 else arguments[0]


class StartsElsewhere(DGD):
    """Starts from twice the parameters that it is given."""

    def init(self, params: Any, context: Any) -> Any:
        return jax.tree.map(lambda leaf: 2 * leaf, params)


class Explodes(DGD):
    """Divides by zero."""

    def absorb(self, *arguments: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf / 0.0, super().absorb(*arguments))


@pytest.mark.parametrize(
    ("broken", "caught_by"),
    [
        (Impure, "is pure"),
        (ChangesType, "state is stable"),
        (GrowsState, "state is stable"),
        (BranchesInEmit, "vectorises over agents"),
        (BranchesInAbsorb, "vectorises over agents"),
        (BranchesInInit, "vectorises over agents"),
        (BranchesOnItsRate, "hyper parameters sweep"),
        (StartsElsewhere, "starts at the given parameters"),
        (Explodes, "stays finite"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_check_catches(broken: type[Algorithm], caught_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only = [run for run in checks.CHECKS if run.__name__ == "check_" + caught_by.replace(" ", "_")]
    monkeypatch.setattr(checks, "CHECKS", only)
    report = check(broken(learning_rate=0.1))
    assert list(report.failures) == [f"{caught_by} (float32)", f"{caught_by} (float64)"], str(report)
    assert str(report).startswith(f"{broken.__name__}: 0 of 2 checks passed\n  {caught_by} (float32): ")


def test_check_reports_every_failure_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKS", [check for check in checks.CHECKS if "sweep" not in check.__name__])
    report = check(StartsElsewhere(learning_rate=0.1))
    assert not report.passed
    assert list(report.failures) == [f"starts at the given parameters ({dtype})" for dtype in ("float32", "float64")]
    assert str(report).startswith("StartsElsewhere: 10 of 12 checks passed")
