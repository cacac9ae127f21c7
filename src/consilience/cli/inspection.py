"""`consilience list`, `show`, `plot`, `explain`, `data` and `check`: what there is, and what it means."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilience.cli.application import app
from consilience.cli.console import messages, print_json, print_table, results
from consilience.cli.options import DataDir, Json, Output, StorePath

if TYPE_CHECKING:
    import xarray as xr

    from consilience.store import Run, Store

KINDS = ("runs", "recipes", "algorithms", "observables", "graphs", "models", "partitions", "datasets")


def _store(path: str | None) -> Store:
    from consilience.store import Store

    return Store(path) if path else Store.default()


def _kind_members(kind: str) -> dict[str, str]:
    """Name → summary, of everything of one kind."""
    if kind == "recipes":
        from consilience.recipes import RECIPES

        return {name: recipe.summary for name, recipe in RECIPES.items()}
    if kind == "algorithms":
        from consilience.algorithms import catalog

        return {name: entry.summary for name, entry in catalog().items()}
    if kind == "observables":
        from consilience.observables import OBSERVABLES

        return {name: _first_line(observable.measure) for name, observable in OBSERVABLES.items()}
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


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))] = "runs",
    store: StorePath = None,
    json: Json = False,
) -> None:
    """List the runs in the store, or what can be named in specs and commands."""
    from consilience.errors import UnknownName

    if kind not in KINDS:
        raise UnknownName.among("kind of thing to list", kind, KINDS)
    if kind == "runs":
        _list_runs(_store(store), json)
        return
    members = _kind_members(kind)
    if json:
        print_json(members)
    else:
        width = max(map(len, members))
        for name, summary in members.items():
            results.print(f"{name:{width}}  {summary}", markup=False)


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
def show(
    run: Annotated[str, typer.Argument(help='Id of a run, or its beginning, or "latest".')] = "latest",
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Show a stored run: what was run or computed, and its results as a table."""
    from consilience.cli.experiments import print_summary, summary_rows
    from consilience.experiments import load_stored

    kept = _store(store)
    record = kept.find(run)
    if "computation" in record.spec:
        _show_computation(record, json)
        return
    dataset = load_stored(kept, run)
    complete = "replica" not in dataset.dims
    if json:
        print_json({**_as_data(record), "rows": summary_rows(dataset) if complete else []})
        return
    results.print(f"run {record.id}\n{record.path}", markup=False)
    experiment = record.spec["experiment"]
    for name in ("algorithm", "model", "num_rounds", "batch_size", "average_after", "dtype"):
        results.print(f"  {name}: {experiment[name]}", markup=False)
    results.print(f"  protocol: {record.spec['protocol']}; blocks {len(record.cells())} of {len(record.spec['cells'])}")
    if complete:
        print_summary(dataset)


def _as_data(run: Run) -> dict[str, Any]:
    return {
        "id": run.id, "attempt": run.attempt, "path": str(run.path), "spec": run.spec, "record": run.record,
    }  # fmt: skip


def _show_computation(run: Run, json: bool) -> None:
    """What was computed: its parameters, and of each cell what it holds."""
    names = run.spec["cells"]
    finished = {name: dataset for name in names if (dataset := run.load(name)) is not None}
    if json:
        cells = {
            name: {variable: dict(zip(array.dims, array.shape, strict=True)) for variable, array in dataset.items()}
            for name, dataset in finished.items()
        }
        print_json({**_as_data(run), "cells": cells})
        return
    results.print(f"run {run.id}\n{run.path}", markup=False)
    for name, value in _flat(run.spec["computation"]):
        results.print(f"  {name}: {value}", markup=False)
    rows = [[name, *_contents(finished.get(name))] for name in names]
    title = f"{run.record.get('title', '')}: cells {len(finished)} of {len(names)}"
    print_table(title, ["cell", "sizes", "variables"], rows)


def _contents(dataset: xr.Dataset | None) -> list[str]:
    """Sizes and variables of a cell."""
    if dataset is None:
        return ["", "not finished"]
    variables = [f"{name}({', '.join(map(str, array.dims))})" for name, array in dataset.items()]
    return [", ".join(f"{dim} {size}" for dim, size in dataset.sizes.items()), ", ".join(variables)]


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names, with dots between tables, and values; of long ones the beginning, for `--json` has all."""
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            count = f" ({len(value)} values)" if isinstance(value, list) else ""
            yield f"{prefix}{name}", str(value) if len(str(value)) <= 80 else f"{str(value)[:60]} …{count}"


@app.command()
def plot(
    run: Annotated[str, typer.Argument(help='Id of a run, or its beginning, or "latest".')] = "latest",
    output: Output = "figures",
    store: StorePath = None,
) -> None:
    """Draw a stored run: its observables against the coupling, or over rounds."""
    from consilience import plots
    from consilience.errors import InvalidSpec
    from consilience.experiments import load_stored
    from consilience.recipes import RECIPES

    kept = _store(store)
    found = kept.find(run)
    if "computation" in found.spec:
        title = found.record.get("title", "")
        command = f"`consilience reproduce {title}`" if title in RECIPES else "The command that made it"
        raise InvalidSpec(
            f"Run {found.short_id} ({title}) is a computation of several cells and not one sweep, so there is no "
            f"overview of it. {command} draws it, and loads what is stored."
        )
    dataset = load_stored(kept, run)
    if "replica" in dataset.dims:
        raise InvalidSpec(
            f"Run {run!r} is not complete, so there is no grid to draw. Run the command that made it again; it goes on."
        )
    for path in plots.save(plots.overview(dataset), output, f"run-{found.short_id}"):
        results.print(f"figure: {path}", markup=False)


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="An algorithm, observable, graph, model, recipe, or `spec`.")],
) -> None:
    """Explain a name: what it is, its update rule or arguments, its source."""
    from consilience.errors import UnknownName

    if name == "spec":
        from consilience.experiments.spec import EXAMPLE

        results.print(EXAMPLE, markup=False, end="")
        return
    things = _explainable()
    if name not in things:
        raise UnknownName.among("name to explain", name, [*things, "spec"])
    results.print(f"{name}\n\n{inspect.getdoc(things[name])}", markup=False)


def _explainable() -> dict[str, object]:
    from consilience.algorithms import catalog
    from consilience.graphs import FAMILIES
    from consilience.models import FAMILIES as MODELS
    from consilience.observables import OBSERVABLES
    from consilience.recipes import RECIPES
    from consilience.tasks.partitions import PARTITIONS

    return {
        **{name: entry.method for name, entry in catalog().items()},
        **{name: observable.measure for name, observable in OBSERVABLES.items()},
        **FAMILIES,
        **MODELS,
        **PARTITIONS,
        **{name: recipe.module for name, recipe in RECIPES.items()},
    }


@app.command()
def data(data_dir: DataDir = None, json: Json = False) -> None:
    """Say which data sets are there, and where."""
    import dataclasses

    from consilience.tasks import data_status

    status = data_status(data_dir=data_dir)
    if json:
        print_json([{**dataclasses.asdict(one), "location": str(one.location or "")} for one in status])
        return
    rows = [
        [
            one.name,
            f"{one.num_train:,} + {one.num_test:,}" if one.num_train and one.num_test else "–",
            "×".join(map(str, one.shape)) if one.shape else "–",
            one.problem or str(one.location or "not here; downloaded when first used"),
        ]
        for one in status
    ]
    print_table("data sets", ["name", "train + test", "shape", "where"], rows)


@app.command()
def check(
    algorithm: Annotated[
        str | None, typer.Argument(help="An entry of the catalog, or FILE.py:NAME of an instance of one's own.")
    ] = None,
) -> None:
    """Run the conformance suite on a method, or on the whole catalog."""
    from consilience.algorithms import catalog
    from consilience.algorithms import check as run_checks

    if algorithm is None:
        instances = [entry.example() for entry in catalog().values()]
    elif algorithm in catalog():
        instances = [catalog()[algorithm].example()]
    else:
        instances = [_from_file(algorithm)]
    reports = [run_checks(instance) for instance in instances]
    for report in reports:
        results.print(str(report), markup=False)
    if not all(report.passed for report in reports):
        raise typer.Exit(1)


def _from_file(reference: str):
    import importlib.util

    from consilience.algorithms import Algorithm, catalog
    from consilience.errors import InvalidSpec, UnknownName

    path, colon, name = reference.partition(":")
    if not colon or not Path(path).is_file():
        raise UnknownName.among("method, nor FILE.py:NAME of one", reference, catalog())
    spec = importlib.util.spec_from_file_location(f"checked_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise InvalidSpec(f"{path} is not a Python file, so it defines no method. Write FILE.py:NAME.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look annotations up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InvalidSpec(
            f"{path} does not run: {type(error).__name__}: {error}. `consilience --debug check ...` shows where."
        ) from error
    instance = getattr(module, name, None)
    if not isinstance(instance, Algorithm):
        raise InvalidSpec(
            f"{name!r} in {path} is {instance!r}; it must be an instance of a subclass of cs.algorithms.Algorithm, "
            "my_method = MyMethod(learning_rate=0.1) for instance."
        )
    return instance
