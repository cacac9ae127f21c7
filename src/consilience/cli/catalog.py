"""`consilience list` and `explain`: what there is, and what it means."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated

import typer

from consilience.cli.application import app
from consilience.cli.console import messages, print_json, print_table, results
from consilience.cli.options import Json, StorePath

if TYPE_CHECKING:
    from consilience.algorithms import Algorithm, Entry
    from consilience.store import Store

KINDS = (
    "runs", "recipes", "algorithms", "compressors", "observables", "graphs", "models", "partitions", "datasets",
)  # fmt: skip
_NOTHING = "nothing"


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))] = "runs",
    needs: Annotated[
        str | None,
        typer.Option("--needs", help="Of algorithms: those that need this of the graph; `nothing` for all graphs."),
    ] = None,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """List the runs in the store, or what can be named in specs and commands."""
    from consilience.errors import InvalidSpec, UnknownName

    if kind not in KINDS:
        raise UnknownName.among("kind of thing to list", kind, KINDS)
    if needs is not None and kind != "algorithms":
        raise InvalidSpec(f"--needs {needs} chooses among algorithms, and not among {kind}. Leave it out.")
    if kind == "runs":
        from consilience.store import Store

        _list_runs(Store(store) if store else Store.default(), json)
    elif kind == "algorithms":
        _list_algorithms(needs, json)
    else:
        members = _members(kind)
        if json:
            print_json(members)
        else:
            _print_names(members)


def _print_names(members: dict[str, str]) -> None:
    width = max(map(len, members))
    for name, summary in members.items():
        results.print(f"{name:{width}}  {summary}", markup=False)


def _list_algorithms(needs: str | None, json: bool) -> None:
    from consilience.algorithms import REQUIREMENTS, catalog, other_methods
    from consilience.errors import UnknownName

    if needs is not None and needs not in (*REQUIREMENTS, _NOTHING):
        raise UnknownName.among("thing that an algorithm needs", needs, [*REQUIREMENTS, _NOTHING])
    chosen = {
        name: entry
        for name, entry in catalog().items()
        if needs is None or needs in entry.needs or (needs == _NOTHING and not entry.needs)
    }
    others = other_methods() if needs is None else {}
    if json:
        print_json(
            {name: {"summary": entry.summary, "needs": entry.needs} for name, entry in {**chosen, **others}.items()}
        )
        return
    _print_names({name: f"{entry.summary}{_needs(entry)}" for name, entry in chosen.items()})
    if others:
        results.print("\nschedules and one-shot methods, for Python:")
        _print_names({name: entry.summary for name, entry in others.items()})


def _needs(entry: Entry) -> str:
    return f" Needs: {', '.join(entry.needs).replace('_', ' ')}." if entry.needs else ""


def _members(kind: str) -> dict[str, str]:
    """Name → summary, of everything of one kind."""
    if kind == "recipes":
        from consilience.recipes import RECIPES

        return {name: recipe.summary for name, recipe in RECIPES.items()}
    if kind == "observables":
        from consilience.observables import OBSERVABLES

        return {name: _first_line(observable.measure) for name, observable in OBSERVABLES.items()}
    if kind == "compressors":
        from consilience.messages import COMPRESSORS

        return {name: _first_line(compressor) for name, compressor in COMPRESSORS.items()}
    if kind == "graphs":
        from consilience.graphs import FAMILIES

        return {name: _first_line(family) for name, family in FAMILIES.items()}
    if kind == "models":
        from consilience.models import FAMILIES as MODELS

        return {name: _first_line(family) for name, family in MODELS.items()}
    from consilience.tasks import DATA_SETS
    from consilience.tasks.partitions import PARTITIONS

    if kind == "partitions":
        return {name: _first_line(partition) for name, partition in PARTITIONS.items()}
    return dict.fromkeys(DATA_SETS, "")


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _list_runs(store: Store, json: bool) -> None:
    runs = store.runs()
    if json:
        print_json(
            [
                {
                    "id": run.id, "attempt": run.attempt, "title": run.title, "cells_done": run.cells_done,
                    "cells_total": run.cells_total, "bytes": run.num_bytes, "problem": run.problem,
                    "updated": run.updated.isoformat() if run.updated else None,
                }
                for run in runs
            ]
        )  # fmt: skip
        return
    if not runs:
        messages.print(f"No runs in {store.path}. `consilience reproduce figure-3 --quick` makes some.")
        return
    rows = [
        [
            run.id[:12],
            f"{run.cells_done}/{run.cells_total}" if run.cells_total is not None else str(run.cells_done),
            f"{run.num_bytes / 2**20:.1f} MB",
            f"{run.updated:%Y-%m-%d %H:%M}" if run.updated else "",
            run.problem or run.title or "",
        ]
        for run in runs
    ]
    print_table(f"runs in {store.path}", ["run", "done", "size", "updated (UTC)", "title"], rows)


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="An algorithm, compressor, observable, graph, recipe, …, or `spec`.")],
    cite: Annotated[bool, typer.Option("--cite", help="Of an algorithm: its sources as BibTeX, and no more.")] = False,
) -> None:
    """Explain a name: what it is, its update rule or arguments, its source."""
    from consilience.algorithms import catalog, other_methods
    from consilience.algorithms import cite as bibtex
    from consilience.errors import InvalidSpec, UnknownName

    methods = {**catalog(), **other_methods()}
    if cite:
        if name not in methods:
            raise UnknownName.among("method with a source to cite", name, methods)
        if not methods[name].citations:
            raise InvalidSpec(f"{name} cites nothing in the form of BibTeX. `consilience explain {name}` says more.")
        results.print(bibtex(*methods[name].citations), markup=False, soft_wrap=True)
        return
    if name == "spec":
        from consilience.experiments.spec import EXAMPLE

        results.print(EXAMPLE, markup=False, end="")
        return
    if name in methods:
        _explain_method(methods[name])
        return
    things = _explainable()
    if name not in things:
        raise UnknownName.among("name to explain", name, [*methods, *things, "spec"])
    results.print(f"{name}\n\n{inspect.getdoc(things[name])}", markup=False)


def _explain_method(entry: Entry) -> None:
    results.print(f"{entry.name}\n\n{entry.text}", markup=False)
    if entry.kind == "algorithm":
        results.print(f"\n{_needs(entry).strip() or 'Needs: nothing of the graph.'}", markup=False)
        results.print(_counted_cost(entry.example()), markup=False)
    if entry.citations:
        results.print(f"BibTeX: `consilience explain {entry.name} --cite`.", markup=False)


def _counted_cost(algorithm: Algorithm) -> str:
    """What a round of a typical population costs, counted on its messages."""
    from consilience import algorithms, graphs, models, tasks
    from consilience.simulation import costs, resolve_experiment

    num_agents = 10
    graph = algorithms.accepted_graph(algorithm, num_agents)
    task = tasks.load("digits")
    experiment = resolve_experiment(
        algorithm,
        model=models.mlp(depth=1, width=20),
        task=task,
        shards=tasks.iid(task, num_agents=num_agents),
        graph=graph if graph is not None else graphs.complete(num_agents),
        num_rounds=1,
    )
    counted = costs(experiment)
    return (
        f"Counted: {num_agents} agents on {experiment.graph.name} with a network of {experiment.num_parameters:,} "
        f"numbers in single precision send {counted.bits[-1]:,} bits per round, for {counted.gradients[-1]} gradients, "
        f"with {' '.join(repr(algorithm).split())}."
    )


def _explainable() -> dict[str, object]:
    from consilience.graphs import FAMILIES
    from consilience.messages import COMPRESSORS
    from consilience.models import FAMILIES as MODELS
    from consilience.observables import OBSERVABLES
    from consilience.recipes import RECIPES
    from consilience.tasks.partitions import PARTITIONS

    return {
        **{name: observable.measure for name, observable in OBSERVABLES.items()},
        **COMPRESSORS,
        **FAMILIES,
        **MODELS,
        **PARTITIONS,
        **{name: recipe.module for name, recipe in RECIPES.items()},
    }
