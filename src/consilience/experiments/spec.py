"""Experiments as text: a TOML file, resolved to a sweep.

Every table names a part and its arguments, as the Python functions take them:

    title = "digits, one class per agent"
    seed = 0
    protocol = "quench"

    [task]
    name = "digits"

    [partition]
    name = "by_class"
    num_agents = 10

    [model]
    family = "mlp"
    depth = 1

    [graph]
    family = "complete"
    num_agents = 10

    [algorithm]
    name = "diffusive_coupling"
    learning_rate = 0.005
    weight_decay = 1e-3

    [run]
    num_rounds = 2000
    average_after = 1000
    observe = ["accuracy", "loss", "magnetization"]

    [over]
    coupling = [0.0, 1.0, 10.0, 100.0]
    seed = [0, 1, 2]

A graph may come from a file: `file = "edges.csv"` and `directed = false` in place of `family`. `max_replicas = 2`,
above the tables, makes smaller blocks, for populations that would not fit; a larger number suits accelerators.
"""

from __future__ import annotations

import copy
import inspect
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consilience import algorithms, graphs, models, tasks
from consilience.errors import ConsilienceError, InvalidSpec, UnknownName
from consilience.experiments.resolve import Sweep, resolve_sweep
from consilience.simulation import resolve_experiment

_TABLES = ("task", "partition", "model", "graph", "algorithm", "run", "over")
_SCALARS = ("title", "seed", "protocol", "along", "max_replicas")
_RUN = [
    name
    for name in inspect.signature(resolve_experiment).parameters
    if name not in ("algorithm", "model", "task", "shards", "graph", "mixing", "schedules", "roles", "initial_params")
]
EXAMPLE = inspect.cleandoc((__doc__ or "").split("take them:\n\n", 1)[1].split("\nA graph may come", 1)[0]) + "\n"
"""A spec that runs in seconds."""


def read(path: str | Path) -> dict[str, Any]:
    """The contents of a spec file.

    Raises:
        InvalidSpec: if there is no such file, or it is not TOML.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidSpec(
            f"There is no spec file {path}. `consilience explain spec` prints one to start from."
        ) from error
    except OSError as error:
        raise InvalidSpec(f"{path} cannot be read: {error.strerror}. Write the path of a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"{path} is not a TOML file: {error}.") from error


def parse_value(text: str) -> Any:
    """A value as TOML would read it, or the text itself if TOML would not.

    Example:
        >>> parse_value("[0.0, 1.5]"), parse_value("true"), parse_value("digits")
        ([0.0, 1.5], True, 'digits')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def parse_assignment(assignment: str) -> tuple[str, Any]:
    """ "path=value" as a path and a value.

    Raises:
        InvalidSpec: if there is no "=".

    Example:
        >>> parse_assignment("run.num_rounds=100")
        ('run.num_rounds', 100)
    """
    path, equals, value = assignment.partition("=")
    if not equals or not path.strip():
        raise InvalidSpec(f"{assignment!r} sets nothing; write path=value, run.num_rounds=100 for instance.")
    return path.strip(), parse_value(value.strip())


def with_changes(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`spec` with some values replaced.

    Args:
        spec: nested tables.
        changes: path, with dots between tables → value.

    Example:
        >>> with_changes({"run": {"num_rounds": 10}}, {"run.num_rounds": 20})
        {'run': {'num_rounds': 20}}
    """
    result = copy.deepcopy(dict(spec))
    for path, value in changes.items():
        *tables, name = path.split(".")
        node = result
        for table in tables:
            node = node.setdefault(table, {})
            if not isinstance(node, dict):
                raise InvalidSpec(f"{path!r} leads through {table!r}, which is a value and not a table.")
        node[name] = value
    return result


def _table(spec: Mapping[str, Any], name: str, *, first: str, default: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The part that a table names, and its other arguments."""
    table = dict(spec.get(name, default))
    if first not in table:
        raise InvalidSpec(f"The table [{name}] does not say which; write {first} = {default[first]!r}.")
    if not isinstance(table[first], str):
        raise InvalidSpec(
            f"[{name}] {first} = {table[first]!r}: this is a name. Write {first} = {default[first]!r}, say."
        )
    return table.pop(first), table


def _call(function: Any, what: str, /, *positional: Any, **arguments: Any) -> Any:
    """`function(...)`, with an error of ours for an argument that it does not take or lacks, or of a wrong type."""
    signature = inspect.signature(function)
    known = [p.name for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for name in arguments:
        if name not in known and not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            raise UnknownName.among(f"argument of {what}", name, known)
    try:
        signature.bind(*positional, **arguments)
    except TypeError as error:
        raise InvalidSpec(f"{what}: {error}. It takes {', '.join(known)}.") from error
    try:
        return function(*positional, **arguments)
    except ConsilienceError:
        raise
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name} = {value!r}" for name, value in arguments.items())
        raise InvalidSpec(f"{what} cannot be made from {given}: {error}. Check the types of these values.") from error


def _graph(spec: Mapping[str, Any], num_agents: int) -> graphs.Graph:
    table = dict(spec.get("graph", {}))
    if "file" in table:
        return _call(graphs.from_edges_csv, "[graph]", table.pop("file"), **table)
    family, arguments = _table(spec, "graph", first="family", default={"family": "complete", "num_agents": num_agents})
    if family not in graphs.FAMILIES:
        raise UnknownName.among("graph", family, graphs.FAMILIES)
    if "num_agents" in inspect.signature(graphs.FAMILIES[family]).parameters:
        arguments.setdefault("num_agents", num_agents)
    return _call(graphs.FAMILIES[family], f"graph {family}", **arguments)


def build_task_and_graph(
    spec: Mapping[str, Any], *, data_dir: str | None = None
) -> tuple[tasks.Task, tasks.Shards, graphs.Graph]:
    """The task, the shards and the graph of a spec: who has which data, and who listens to whom.

    Raises:
        UnknownName: for a table, name or argument that does not exist.
        InvalidSpec: for values that cannot work.

    Example:
        >>> task, shards, graph = build_task_and_graph({"graph": {"family": "cycle"}})
        >>> task.name, shards.num_agents, graph.name
        ('digits', 10, 'cycle(10)')
    """
    for name in spec:
        if name not in (*_TABLES, *_SCALARS):
            raise UnknownName.among("part of a spec", name, [*_TABLES, *_SCALARS])
    for name in _TABLES:
        if not isinstance(spec.get(name, {}), Mapping):
            raise InvalidSpec(f"{name} = {spec[name]!r}: this is a table. Write [{name}] and its arguments below it.")
    name, arguments = _table(spec, "task", first="name", default={"name": "digits"})
    task = _call(tasks.load, "[task]", name, **{"data_dir": data_dir, **arguments})
    name, arguments = _table(spec, "partition", first="name", default={"name": "by_class", "num_agents": 10})
    arguments.setdefault("num_agents", 10)
    shards = _call(tasks.partitions.make, "[partition]", name, task, **arguments)
    return task, shards, _graph(spec, len(shards))


def resolve_spec(spec: Mapping[str, Any], *, data_dir: str | None = None) -> Sweep:
    """The sweep that a spec describes. What it leaves out has the values of the example.

    Raises:
        UnknownName: for a table, name or argument that does not exist.
        InvalidSpec: for values that cannot work.

    Example:
        >>> sweep = resolve_spec({"over": {"coupling": [0.0, 1.0]}, "run": {"num_rounds": 10}})
        >>> len(sweep.cells)
        2
    """
    task, shards, graph = build_task_and_graph(spec, data_dir=data_dir)
    family, arguments = _table(spec, "model", first="family", default={"family": "mlp", "depth": 1})
    if family not in models.FAMILIES:
        raise UnknownName.among("model", family, models.FAMILIES)
    model = _call(models.FAMILIES[family], f"model {family}", **arguments)
    name, arguments = _table(
        spec, "algorithm", first="name", default={"name": "diffusive_coupling", "learning_rate": 0.005}
    )
    algorithm = _call(algorithms.make, "[algorithm]", name, **arguments)
    run = dict(spec.get("run", {"num_rounds": 2000}))
    for key in run:
        if key not in _RUN:
            raise UnknownName.among("argument of [run]", key, _RUN)
    if not isinstance(run.get("observe", []), list):
        raise InvalidSpec(f'observe = {run["observe"]!r}: this is a list. Write observe = ["accuracy", "loss"], say.')
    run.setdefault("num_rounds", 2000)
    return resolve_sweep(
        algorithm,
        over=spec.get("over") or {"seed": [spec.get("seed", 0)]},
        model=model,
        task=task,
        shards=shards,
        graph=graph,
        **{name: spec[name] for name in _SCALARS if name in spec},
        **run,
    )
