"""How to make a stored run again: the command, and the lines of Python.

A run's identity holds data by content only, as SHA-256, so it says whether two runs are the same and not how to make
one. What a run was made from, a spec or a recipe with its settings, is therefore recorded with it.
"""

from __future__ import annotations

import importlib
import pprint
import shlex
from collections.abc import Mapping
from typing import Any

from consilience.algorithms import SERVER
from consilience.errors import InvalidSpec
from consilience.experiments.spec import format_value, to_toml
from consilience.reports.summary import SWEPT
from consilience.store import Run

_WIDTH = 100
_GIVEN = ("initial_params", "schedules", "interventions")
"""Parts of an experiment that have a default and, if given, are recorded by content."""


def command(run: Run) -> str | None:
    """The shell command that makes the same run, under the same id; `None` if no command can.

    A run of a recipe is made by the command that reproduces the whole recipe.

    Raises:
        StoreError: its record cannot be read.

    Example:
        >>> import tempfile
        >>> from consilience.store import Store
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     run = Store(directory).open_run("0" * 64, {})  # run_sweep records the source of a sweep from a spec
        ...     run.update_record(source={"spec": {"seed": 3, "run": {"num_rounds": 2}}})
        ...     print(command(run))
        cat > spec.toml <<'EOF'
        seed = 3
        <BLANKLINE>
        [run]
        num_rounds = 2
        EOF
        consilience run spec.toml
    """
    source = _source(run)
    if "spec" in source:
        return f"cat > spec.toml <<'EOF'\n{to_toml(source['spec'])}EOF\nconsilience run spec.toml"
    if "recipe" in source:
        return _recipe_command(source)
    return None


def python_lines(run: Run) -> str:
    """The lines of Python that make the same run, under the same id.

    Where `missing` names something, the lines have `...` in its place.

    Raises:
        StoreError: its record or spec cannot be read.

    Example:
        >>> import tempfile
        >>> from consilience.store import Store
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     run = Store(directory).open_run("0" * 64, {})
        ...     run.update_record(source={"spec": {"seed": 3}})
        ...     print(python_lines(run))
        import consilience as cs
        <BLANKLINE>
        spec = {'seed': 3}
        planned = cs.experiments.resolve_spec(spec)
        result = cs.experiments.run_sweep(planned, store=cs.store.Store.default())
        <BLANKLINE>
    """
    source = _source(run)
    if "spec" in source:
        return _spec_lines(source["spec"])
    if "recipe" in source:
        return _recipe_lines(source)
    if "computation" in run.spec:
        return "import consilience as cs\n\ncomputation = ...\nresults = cs.experiments.compute(computation)\n"
    return _sweep_lines(run.spec)


def missing(run: Run) -> list[str]:
    """What of a run cannot be reconstructed from the store, or has to be brought along; a sentence each.

    Raises:
        StoreError: its record or spec cannot be read.

    Example:
        >>> import tempfile
        >>> from consilience.store import Store
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     missing(Store(directory).open_run("0" * 64, {"computation": {"subject": "squares"}, "cells": []}))
        ['The computation was made in Python, from functions that are not recorded.']
    """
    source = _source(run)
    if "recipe" in source:
        return [] if _recipe_command(source) else ["The command line has no way to write one of the recipe's settings."]
    if "spec" in source:
        files = {name: source["spec"].get(name, {}).get("file") for name in ("task", "graph")}
        return [f"The {name} is read from the file {path}, which is not in the store." for name, path in files.items()
                if path]  # fmt: skip
    if "computation" in run.spec:
        return ["The computation was made in Python, from functions that are not recorded."]
    experiment = run.spec["experiment"]
    given = [name.replace("_", " ") for name in _GIVEN if _is_given(experiment.get(name))]
    parts = ["the task", "the shards", "the graph", "the mixing matrix (unless it is the default)", *given]
    return [
        "No spec is recorded with this sweep; it was made in Python, say. So these are known by the SHA-256 of their "
        f"content only: {', '.join(parts)}. The same id comes out when they hold the same data."
    ]


def _source(run: Run) -> Mapping[str, Any]:
    return run.record.get("source") or {}


def _spec_lines(spec: Mapping[str, Any]) -> str:
    tables = pprint.pformat(dict(spec), width=_WIDTH, sort_dicts=False, compact=True)
    return (
        "import consilience as cs\n\n"
        f"spec = {_indented(tables, len('spec = '))}\n"
        "planned = cs.experiments.resolve_spec(spec)\n"
        "result = cs.experiments.run_sweep(planned, store=cs.store.Store.default())\n"
    )


def _indented(text: str, spaces: int) -> str:
    """All lines but the first moved to the right."""
    return text.replace("\n", "\n" + " " * spaces)


def _recipe_command(source: Mapping[str, Any]) -> str | None:
    words = ["consilience", "reproduce", source["recipe"]]
    words += [] if source["preset"] == "default" else [f"--{source['preset']}"]
    try:
        for name, value in source["settings"].items():
            words += ["--set", f"{name}={format_value(value)}"]
    except InvalidSpec:
        return None
    return shlex.join(words)


def _recipe_lines(source: Mapping[str, Any]) -> str:
    settings = "".join(f"    {name}={_as_tuples(value)!r},\n" for name, value in source["settings"].items())
    preset = f"recipe.presets[{source['preset']!r}]()"
    config = f"dataclasses.replace(\n    {preset},\n{settings})" if settings else preset
    imports = "import dataclasses\n\n" if settings else ""
    return (
        f"{imports}import consilience as cs\n\n"
        f"recipe = cs.recipes.get({source['recipe']!r})\n"
        f"config = {config}\n"
        "store = cs.store.Store.default()\n\n\n"
        "def execute(work):\n"
        "    if isinstance(work, cs.experiments.Computation):\n"
        "        return cs.experiments.compute(work, store=store)\n"
        "    return cs.experiments.run_sweep(work, store=store)\n\n\n"
        "result = recipe.module.run(config, execute)\n"
        "figure = recipe.module.draw(result)\n"
    )


def _as_tuples(value: Any) -> Any:
    """Settings of protocols are tuples, and JSON has lists."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _sweep_lines(spec: Mapping[str, Any]) -> str:
    """The call of `cs.sweep` that a resolved spec stands for, with `...` for what is known by content only."""
    experiment = spec["experiment"]
    first = {name: values[0] for name, values in spec["over"].items()}
    fields = experiment["algorithm"].items()
    algorithm = {name: first[name] if value == SWEPT else value for name, value in fields}
    options = {
        name: experiment[name]
        for name in ("num_rounds", "batch_size", "observe_every", "average_after", "dtype", "common_init")
        if experiment.get(name) is not None
    }
    options |= {"observe": experiment["observables"], "protocol": spec["protocol"]}
    options |= {} if spec["seed"] is None else {"seed": spec["seed"]}
    samples = [str(shard["shape"][0]) if isinstance(shard, Mapping) and "shape" in shard else "?"
               for shard in experiment["shards"]]  # fmt: skip
    graph = experiment["graph"]["graph"]
    servers = {agent: "server" for agent, role in enumerate(experiment["roles"]) if role == SERVER}
    options |= {"roles": servers} if servers else {}
    lines = [f"    {name}={value!r},\n" for name, value in options.items()]
    lines += [
        f"    {name}=...,  # given in Python; not recorded\n" for name in _GIVEN if _is_given(experiment.get(name))
    ]
    return (
        "import consilience as cs\n\n"
        f"task = ...  # its content has the SHA-256 {experiment['task']['task']}\n"
        f"shards = ...  # samples of the agents: {', '.join(samples)}\n"
        f"graph = ...  # {len(experiment['roles'])} agents; its matrix has the SHA-256 {graph['array']}\n"
        "result = cs.sweep(\n"
        f"    {_call(algorithm)},\n"
        f"    over={_indented(pprint.pformat(spec['over'], width=_WIDTH, sort_dicts=False, compact=True), 9)},\n"
        f"    model={_call(experiment['model'])},\n"
        "    task=task,\n    shards=shards,\n    graph=graph,\n"
        f"{''.join(lines)}"
        "    store=cs.store.Store.default(),\n)\n"
    )


def _is_given(described: Any) -> bool:
    """Whether a part that has a default was given: its description holds something."""
    if isinstance(described, Mapping):
        return any(_is_given(value) for name, value in described.items() if name != "class")
    return described not in (None, [], {}, False)


def _call(described: Any) -> str:
    """A part as the Python that makes it; `...` for arrays, which are known by content only."""
    if isinstance(described, Mapping) and "class" in described:
        arguments = ", ".join(f"{name}={_call(value)}" for name, value in described.items() if name != "class")
        return f"{_public_name(described['class'])}({arguments})"
    if isinstance(described, Mapping):
        return "..."
    if isinstance(described, list):
        return "[" + ", ".join(map(_call, described)) + "]"
    return repr(described)


def _public_name(path: str) -> str:
    """The name of a class as users write it: `cs.models.MLP` for consilience.models.mlp.MLP."""
    path = path.partition("#")[0]  # classes of others carry a digest of their source
    name = path.rpartition(".")[2]
    if path.partition(".")[0] != "consilience":
        return name
    home = ".".join(path.split(".")[:2])
    is_exported = hasattr(importlib.import_module(home), name)
    return f"cs.{home.partition('.')[2]}.{name}" if is_exported else path
