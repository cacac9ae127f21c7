"""`consilience show`, `plot`, `data` and `check`: what is stored, which data are there, whether a method works."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilience.cli.application import app
from consilience.cli.console import print_json, print_table, results
from consilience.cli.options import DataDir, Json, Output, StorePath

if TYPE_CHECKING:
    import xarray as xr

    from consilience.store import Run, Store


def _store(path: str | None) -> Store:
    from consilience.store import Store

    return Store(path) if path else Store.default()


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
