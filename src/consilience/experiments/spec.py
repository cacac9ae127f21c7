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

What is done to the population under way is a list of tables, one per intervention (`cs.simulation.KINDS`):

    [[interventions]]
    round = 1000
    kind = "edge"
    source = 0
    target = 3
    weight = 0.0

A graph may come from a file: `file = "edges.csv"` and `directed = false` in place of `family`; and a task, `file =
"data.npz"` in place of `name`. `batch_size = "shard"` takes an agent's whole shard in every step. `max_replicas = 2`,
above the tables, makes smaller blocks, for populations that would not fit; a larger number suits accelerators.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from consilience import algorithms, graphs, models, tasks
from consilience.errors import ConsilienceError, InvalidSpec, UnknownName
from consilience.experiments.resolve import Sweep, resolve_sweep
from consilience.simulation import KINDS, Intervention, resolve_experiment

_TABLES = ("task", "partition", "model", "graph", "algorithm", "run", "over")
_SCALARS = ("title", "seed", "protocol", "along", "max_replicas")
WHOLE_SHARD = "shard"
"""`batch_size` of a spec for whole shards in every step: what Python calls `None`, which TOML does not have."""
_PARTS = (*_TABLES, *_SCALARS, "interventions")
_ELSEWHERE = ("algorithm", "model", "task", "shards", "graph", "mixing", "schedules", "roles", "initial_params",
              "interventions")  # fmt: skip
_RUN = [name for name in inspect.signature(resolve_experiment).parameters if name not in _ELSEWHERE]
EXAMPLE = inspect.cleandoc((__doc__ or "").split("take them:\n\n", 1)[1].split("\nWhat is done", 1)[0]) + "\n"
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


def format_value(value: Any) -> str:
    """A value as TOML writes it, on one line: the inverse of `parse_value`.

    Raises:
        InvalidSpec: if TOML has no such value.

    Example:
        >>> format_value([0.0, 1.5]), format_value(True), format_value("digits")
        ('[0.0, 1.5]', 'true', '"digits"')
    """
    return to_toml({"value": value}).removeprefix("value = ").rstrip("\n")


def to_toml(spec: Mapping[str, Any]) -> str:
    """A spec as the text of a TOML file: what `read` reads back. A list stands on one line.

    Args:
        spec: nested tables; arrays, tuples and ranges become lists.

    Raises:
        InvalidSpec: for a value that TOML does not have: `None`, functions, objects.

    Example:
        >>> print(to_toml({"seed": 0, "over": {"coupling": (0.0, 10.0)}}))
        seed = 0
        <BLANKLINE>
        [over]
        coupling = [0.0, 10.0]
        <BLANKLINE>
    """
    lines: list[str] = []
    for line in tomli_w.dumps(as_tables(spec)).splitlines():
        # The writer puts every item on a line of its own, indented; strings never contain a line break.
        if line.lstrip().startswith("]"):
            lines[-1] = lines[-1].rstrip().removesuffix(",") + line.strip()
        elif line.startswith(" "):
            lines[-1] += ("" if lines[-1].endswith("[") else " ") + line.strip()
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def as_tables(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec as `read` would return it: dictionaries, lists, strings, numbers and booleans alone.

    Raises:
        InvalidSpec: for a value that TOML does not have.

    Example:
        >>> as_tables({"over": {"seed": range(3), "coupling": np.array([0.5])}})
        {'over': {'seed': [0, 1, 2], 'coupling': [0.5]}}
    """
    return {str(name): _plain(value, str(name)) for name, value in spec.items()}


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [_plain(item, where) for item in value]
    if isinstance(value, (bool, int, float, str)):
        return value
    raise InvalidSpec(
        f"{where} = {value!r}: a spec file has no such value. Write numbers, strings, true or false, lists and tables, "
        "and leave out what has its default."
    )


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


def _task(spec: Mapping[str, Any], data_dir: str | None) -> tasks.Task:
    table = dict(spec.get("task", {}))
    if "file" in table:
        return _call(tasks.from_npz, "[task]", table.pop("file"), **table)
    name, arguments = _table(spec, "task", first="name", default={"name": "digits"})
    return _call(tasks.load, "[task]", name, **{"data_dir": data_dir, **arguments})


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
        if name not in _PARTS:
            raise UnknownName.among("part of a spec", name, _PARTS)
    for name in _TABLES:
        if not isinstance(spec.get(name, {}), Mapping):
            raise InvalidSpec(f"{name} = {spec[name]!r}: this is a table. Write [{name}] and its arguments below it.")
    task = _task(spec, data_dir)
    name, arguments = _table(spec, "partition", first="name", default={"name": "by_class", "num_agents": 10})
    arguments.setdefault("num_agents", 10)
    shards = _call(tasks.partitions.make, "[partition]", name, task, **arguments)
    return task, shards, _graph(spec, len(shards))


def _interventions(spec: Mapping[str, Any]) -> list[Intervention]:
    listed = spec.get("interventions", [])
    if not isinstance(listed, list) or not all(isinstance(table, Mapping) for table in listed):
        raise InvalidSpec(
            f"interventions = {listed!r}: this is a list of tables. Write [[interventions]] above each of them."
        )
    made = []
    for table in listed:
        arguments = dict(table)
        kind = arguments.pop("kind", None)
        if kind not in KINDS:
            raise UnknownName.among("kind of intervention", str(kind), KINDS)
        made.append(_call(KINDS[kind], f"intervention {kind}", **arguments))
    return made


def as_table(intervention: Intervention) -> dict[str, Any]:
    """An intervention as a table of a spec.

    Example:
        >>> from consilience.simulation import Freeze
        >>> as_table(Freeze(100, agent=3))
        {'kind': 'freeze', 'round': 100, 'agent': 3}
    """
    return {"kind": intervention.kind, **dataclasses.asdict(intervention)}


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
    if run.get("batch_size") == WHOLE_SHARD:
        run["batch_size"] = None
    resolved = resolve_sweep(
        algorithm,
        over=spec.get("over") or {"seed": [spec.get("seed", 0)]},
        model=model,
        task=task,
        shards=shards,
        graph=graph,
        interventions=_interventions(spec),
        **{name: spec[name] for name in _SCALARS if name in spec},
        **run,
    )
    return dataclasses.replace(resolved, source=_source(spec))


def _source(spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a run records of its spec; nothing if it was made in Python of values that no file can hold."""
    try:
        return {"spec": as_tables(spec)}
    except InvalidSpec:
        return None
