"""`consilience reproduce`: figures of the papers, and studies beyond them."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilience.cli.application import app
from consilience.cli.console import messages, print_json, print_table, progress_bar, results
from consilience.cli.options import Address, DataDir, Executor, Force, Json, Output, Set, StorePath, Workers

if TYPE_CHECKING:
    from consilience.recipes import Recipe


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="What to reproduce; `consilience list recipes` names all.")],
    quick: Annotated[bool, typer.Option("--quick", help="A smaller protocol: seconds or minutes.")] = False,
    full: Annotated[bool, typer.Option("--full", help="The whole protocol; says first how long it takes.")] = False,
    dataset: Annotated[str | None, typer.Option("--dataset", help="digits, mnist, fashion_mnist or cifar10.")] = None,
    set_: Set = None,
    output: Output = "figures",
    store: StorePath = None,
    data_dir: DataDir = None,
    executor: Executor = "local",
    workers: Workers = None,
    address: Address = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Reproduce a figure of a paper, or a study: run it or load what is stored, print its tables, draw it."""
    from consilience import experiments, recipes, tasks
    from consilience.errors import InvalidSpec, UnknownName

    if quick and full:
        raise InvalidSpec("--quick and --full contradict each other. Choose one, or neither for the default protocol.")
    recipe = recipes.get(name)
    preset = "quick" if quick else "full" if full else "default"
    config = recipe.presets[preset]()
    suffix = {"quick": "-quick", "full": "-full", "default": ""}[preset]
    if dataset is not None:
        if dataset not in tasks.DATA_SETS:
            raise UnknownName.among("data set", dataset, tasks.DATA_SETS)
        config = recipe.module.for_dataset(config, dataset)
    chosen = experiments.make_executor(executor, num_workers=workers, address=address)
    carry_out(
        recipe, config, set_ or [], suffix, output, store, data_dir, force, json, estimated=not quick, executor=chosen
    )


def carry_out(
    recipe: Recipe,
    config: Any,
    assignments: list[str],
    suffix: str,
    output: str,
    store: str | None,
    data_dir: str | None,
    force: bool,
    json: bool,
    *,
    estimated: bool,
    executor: Any = None,
) -> None:
    """Run a recipe or load what is stored of it, draw it, and print what it found."""
    from consilience import experiments, plots
    from consilience.simulation import use_compilation_cache
    from consilience.store import Store

    config = _with_assignments(config, assignments)
    use_compilation_cache()
    kept = Store(store) if store else Store.default()
    planned = recipe.module.sweeps(config, data_dir=data_dir) if estimated else {}
    if planned:
        messages.print(str(experiments.estimate(list(planned.values()), store=kept, force=force, executor=executor)))
    source = recipe.source(config)
    start = time.monotonic()
    with progress_bar() as update:

        def execute(work: Any) -> Any:
            options: dict[str, Any] = {"store": kept, "force": force, "on_progress": update}
            work = dataclasses.replace(work, source=source)
            if isinstance(work, experiments.Computation):
                return experiments.compute(work, **options)
            return experiments.run_sweep(work, executor=executor or "local", **options)

        result = recipe.module.run(config, execute, data_dir=data_dir)
    paths = plots.save(recipe.module.draw(result), output, recipe.module.stem(config) + suffix)
    seconds = time.monotonic() - start
    if json:
        found = recipe.module.as_data(result)
        files = [str(path) for path in paths]
        print_json({**found, "wall_seconds": seconds, "figures": files, "store": str(kept.path)})
        return
    for table in recipe.module.tables(result):
        print_table(f"\n{table.title}", table.columns, table.rows)
    results.print("\n" + "\n".join(recipe.module.remarks(result)))
    results.print(f"this command took {seconds:.0f} s")
    results.print(f"figures: {', '.join(str(path) for path in paths)}")
    results.print(f"stored:  {kept.path}")


def _with_assignments(config: Any, assignments: list[str]) -> Any:
    """The protocol with `--set` applied."""
    from consilience.errors import InvalidSpec, UnknownName
    from consilience.experiments.spec import parse_assignment

    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    changes = dict(parse_assignment(assignment) for assignment in assignments)
    for path, value in changes.items():
        if path not in fields:
            raise UnknownName.among("setting of this recipe", path, fields)
        expected = fields[path]
        if isinstance(expected, tuple) and isinstance(value, (list, tuple)):
            changes[path] = tuple(float(item) if isinstance(item, int) else item for item in value)
        elif expected is not None and not isinstance(value, (type(expected), int)):
            raise InvalidSpec(f"--set {path}={value!r}: this setting is like {expected!r}.")
    return dataclasses.replace(config, **changes)
