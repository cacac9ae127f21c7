"""`consilience run` and `consilience sweep`: experiments from spec files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilience.cli.application import app
from consilience.cli.console import print_json, print_table, progress_bar, results
from consilience.cli.options import Address, DataDir, Executor, Force, Json, Set, StorePath, Workers

if TYPE_CHECKING:
    import xarray as xr


@app.command()
def run(
    spec: Annotated[Path, typer.Argument(help="A TOML file; `consilience explain spec` prints one.")],
    set_: Set = None,
    store: StorePath = None,
    data_dir: DataDir = None,
    executor: Executor = "local",
    workers: Workers = None,
    address: Address = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Run the experiment that a spec file describes, or load it if it is stored."""
    from consilience.experiments import make_executor
    from consilience.experiments.spec import parse_assignment, read, with_changes

    chosen = make_executor(executor, num_workers=workers, address=address)
    changes = dict(map(parse_assignment, set_ or []))
    _execute(with_changes(read(spec), changes), store, data_dir, chosen, force, json)


@app.command()
def sweep(
    over: Annotated[
        list[str],
        typer.Option(
            "--over", help="Values of a parameter, e.g. coupling=0,1,10; may be repeated.", metavar="NAME=V,V"
        ),
    ],
    spec: Annotated[
        Path | None, typer.Argument(help="A TOML file for everything else; the embedded digits by default.")
    ] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="quench, adiabatic_up or adiabatic_down.")] = "quench",
    set_: Set = None,
    store: StorePath = None,
    data_dir: DataDir = None,
    executor: Executor = "local",
    workers: Workers = None,
    address: Address = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Run an experiment for all combinations of some parameters."""
    from consilience.experiments import make_executor
    from consilience.experiments.spec import EXAMPLE, parse_assignment, parse_value, read, with_changes

    chosen = make_executor(executor, num_workers=workers, address=address)
    if spec is None:
        import tomllib

        content = tomllib.loads(EXAMPLE)
    else:
        content = read(spec)
    changes = dict(map(parse_assignment, set_ or []))
    content["over"] = {}
    for assignment in over:
        name, value = assignment.partition("=")[::2]
        parse_assignment(assignment)
        content["over"][name.strip()] = [parse_value(item.strip()) for item in value.strip("[] ").split(",")]
    content["protocol"] = protocol
    _execute(with_changes(content, changes), store, data_dir, chosen, force, json)


def _execute(
    spec: dict[str, Any], store: str | None, data_dir: str | None, executor: Any, force: bool, json: bool
) -> None:
    from consilience.experiments import resolve_spec, run_sweep
    from consilience.simulation import use_compilation_cache
    from consilience.store import Store

    use_compilation_cache()
    resolved = resolve_spec(spec, data_dir=data_dir)
    kept = Store(store) if store else Store.default()
    with progress_bar() as update:
        dataset = run_sweep(resolved, store=kept, force=force, executor=executor, on_progress=update)
    rows = summary_rows(dataset)
    if json:
        print_json({"run_id": resolved.run_id, "store": str(kept.path), "rows": rows, "attrs": dataset.attrs})
        return
    print_summary(dataset)
    results.print(f"stored:  {kept.path}, run {(resolved.run_id or '')[:12]}")


def summary_rows(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """One row per cell of a sweep: its parameters, its outcome, and its scalar observables, averaged over agents.

    With a dimension "round", the last record counts.
    """
    import numpy as np

    last = dataset.isel(round=-1) if "round" in dataset.dims else dataset
    swept = [str(dim) for dim in last.outcome.dims]
    names = [
        str(name)
        for name, variable in last.data_vars.items()
        if variable.dtype.kind == "f" and set(map(str, variable.dims)) - set(swept) <= {"agent"}
        and not str(name).startswith("params/")
    ]  # fmt: skip
    rows = []
    for position in np.ndindex(*[last.sizes[dim] for dim in swept]):
        cell = last.isel(dict(zip(swept, position, strict=True)))
        row = {dim: cell[dim].item() for dim in swept}
        row |= {name: float(cell[name].mean()) for name in names}
        row["outcome"] = str(cell.outcome.item())
        if row["outcome"] != "completed":
            row["final_round"] = int(cell.final_round)
        rows.append(row)
    return rows


def print_summary(dataset: xr.Dataset) -> None:
    """`summary_rows` as a table."""
    rows = summary_rows(dataset)
    columns = [name for name in rows[0] if name not in ("outcome", "final_round")]
    lines = []
    for row in rows:
        outcome = row["outcome"] + (f" (round {row['final_round']})" if "final_round" in row else "")
        lines.append([*(f"{row[name]:.4g}" if isinstance(row[name], float) else str(row[name]) for name in columns),
                      outcome])  # fmt: skip
    print_table(dataset.attrs.get("title", ""), [*columns, "outcome"], lines)
