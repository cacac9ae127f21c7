"""Phase diagrams: order parameter and loss over any control parameters of the theory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import xarray as xr

from consilience.errors import InvalidSpec, UnknownName
from consilience.graphs import Graph
from consilience.theory.landau.arguments import shown
from consilience.theory.landau.protocols import (
    PROTOCOLS,
    SPAN,
    gaussian_disorder,
    hysteresis_area,
    sweep,
    uniform_start,
)

_NUM_AGENTS = 200

CONTROLS = ("coupling", "weight_decay", "disorder_std", "disorder_mean", "num_agents", "depth", "graph")


def phase_diagram(
    over: Mapping[str, Iterable[Any]],
    *,
    protocol: str | Sequence[str] = "quench",
    coupling: float = 1.0,
    weight_decay: float = 1e-3,
    disorder_std: float = 2.0,
    disorder_mean: float = 0.0,
    num_agents: int | None = None,
    depth: int = 1,
    graph: Graph | None = None,
    num_realizations: int = 50,
    offset: float = 0.05,
    span: float = SPAN,
    average_after: float | None = None,
    seed: int = 0,
    rtol: float = 1e-3,
    atol: float = 1e-6,
) -> xr.Dataset:
    """Order parameter and loss for all combinations of some control parameters, averaged over time.

    Disorder and initial conditions are those of paper 001 (Appendix B), drawn from `seed`; all points of the diagram
    share them (common random numbers), and a small N has the first agents of a larger one. For statistics that take
    sizes to be independent, as those of finite-size scaling do, call it with another seed for each N.

    Args:
        over: name → values, of any of "coupling" (σ̂), "weight_decay" (γ̂), "disorder_std" and "disorder_mean" (of the
            Gaussian from which δ is drawn), "num_agents" (N), "depth" (D) and "graph" (graphs, which bring their N).
            Couplings in increasing order.
        protocol: "quench", "adiabatic_up" or "adiabatic_down"; or several of them, which adds a dimension "protocol".
            Adiabatic ones follow the coupling, which has to be among `over`.
        coupling: σ̂, where it is not in `over`; the other control parameters likewise.
        weight_decay: γ̂.
        disorder_std: standard deviation of δ.
        disorder_mean: mean of δ.
        num_agents: N, 200 by default; a graph brings its own.
        depth: D.
        graph: the complete graph if None.
        num_realizations: independent draws of disorder and initial condition.
        offset: ε of the initial condition, uniform on [−2 + ε, 2 + ε].
        span: how long each point is integrated.
        average_after: from when on observables are averaged; the second half of `span` by default.
        seed: of the draws.
        rtol: as in `integrate`.
        atol: as in `integrate`.

    Returns:
        A data set with the dimensions of `over` (graphs by their names), "protocol" if there are several, and "seed":
        `magnetization`, `loss` and `outcome` as in `sweep`. Averages over "seed", susceptibility and Binder cumulant
        are left to `consilience.observables`. With both adiabatic protocols also `hysteresis_area`, without
        "coupling" and "protocol". Attributes: all arguments that are the same everywhere.

    Raises:
        UnknownName: for a control parameter or protocol that does not exist.
        InvalidSpec: for values that cannot be.

    Example:
        >>> diagram = phase_diagram({"depth": [1, 2], "coupling": [0.0, 3.0]}, num_agents=50, num_realizations=20)
        >>> diagram.magnetization.dims
        ('depth', 'coupling', 'seed')
    """
    fixed = {
        "coupling": coupling, "weight_decay": weight_decay, "disorder_std": disorder_std,
        "disorder_mean": disorder_mean, "num_agents": num_agents, "depth": depth, "graph": graph,
    }  # fmt: skip
    grid = _checked(over, fixed)
    protocols = _checked_protocols(protocol, grid)
    swept = [name for name in grid if name != "coupling"]
    points = []
    for values in itertools.product(*(grid[name] for name in swept)):
        point = {**fixed, **dict(zip(swept, values, strict=True))}
        couplings = grid.get("coupling", [coupling])
        points.append(
            xr.concat(
                [
                    _transition(
                        point, couplings, one, num_realizations, offset, seed, span=span,
                        average_after=span / 2 if average_after is None else average_after, rtol=rtol, atol=atol,
                    )
                    for one in protocols
                ],
                dim=xr.Variable("protocol", list(protocols)),
            )
        )  # fmt: skip
    constant = {name: value for name, value in fixed.items() if name not in grid and value is not None}
    if graph is not None:
        constant["graph"] = graph.name
    assembled = _assembled(points, grid, swept, protocols, isinstance(protocol, str))
    return assembled.assign_attrs(
        **constant, protocol=protocol if isinstance(protocol, str) else list(protocol), seed=seed, offset=offset,
        num_realizations=num_realizations, span=span, rtol=rtol, atol=atol,
    )  # fmt: skip


def _transition(
    point: Mapping[str, Any],
    couplings: Sequence[float],
    protocol: str,
    num_realizations: int,
    offset: float,
    seed: int,
    **options: Any,
) -> xr.Dataset:
    graph = point["graph"]
    n = graph.num_agents if graph is not None else _NUM_AGENTS if point["num_agents"] is None else point["num_agents"]
    delta = gaussian_disorder(num_realizations, n, mean=point["disorder_mean"], std=point["disorder_std"], seed=seed)
    initial = uniform_start(num_realizations, n, offset=offset, seed=seed)
    result = sweep(
        delta, initial, depth=point["depth"], couplings=couplings, protocol=protocol,
        weight_decay=point["weight_decay"], graph=graph, **options,
    )  # fmt: skip
    return result[["magnetization", "loss", "outcome"]]


def _assembled(
    points: list[xr.Dataset],
    grid: Mapping[str, list[Any]],
    swept: list[str],
    protocols: tuple[str, ...],
    is_single: bool,
) -> xr.Dataset:
    labels = {name: [g.name for g in grid[name]] if name == "graph" else grid[name] for name in swept}
    shape = [len(grid[name]) for name in swept]
    flat = xr.concat(points, dim="point", join="exact", combine_attrs="override")
    variables = {
        str(name): ((*swept, *variable.dims[1:]), variable.values.reshape(*shape, *variable.shape[1:]), variable.attrs)
        for name, variable in flat.data_vars.items()
    }
    coords = {**labels, **{name: flat.coords[name] for name in ("protocol", "coupling", "seed")}}
    dataset = xr.Dataset(variables, coords)
    if {"adiabatic_up", "adiabatic_down"} <= set(protocols):
        up, down = (dataset.magnetization.sel(protocol=f"adiabatic_{way}", drop=True) for way in ("up", "down"))
        dataset["hysteresis_area"] = hysteresis_area(up, down)
    dataset = dataset.isel(protocol=0, drop=True) if is_single else dataset
    dataset = dataset if "coupling" in grid else dataset.isel(coupling=0, drop=True)
    kept = [name for name in ("protocol", *grid, "seed") if name in dataset.dims]
    return dataset.transpose(*kept)


def _checked(over: Mapping[str, Iterable[Any]], fixed: Mapping[str, Any]) -> dict[str, list[Any]]:
    if not isinstance(over, Mapping) or not over:
        raise InvalidSpec(f"over={over!r}: this maps control parameters to values. Write over={{'coupling': [0, 1]}}.")
    for name in over:
        if name not in CONTROLS:
            raise UnknownName.among("control parameter", name, CONTROLS)
        if isinstance(over[name], str) or not isinstance(over[name], Iterable):
            raise InvalidSpec(
                f"over[{name!r}]={shown(over[name])} is no list of values. Write over={{{name!r}: [...]}}."
            )
    grid = {name: list(values) for name, values in over.items()}
    for name, values in grid.items():
        if not values:
            raise InvalidSpec(f"over[{name!r}] is empty. Write at least one value.")
    graphs = grid.get("graph", [] if fixed["graph"] is None else [fixed["graph"]])
    for graph in graphs:
        if not isinstance(graph, Graph):
            raise InvalidSpec(f"{shown(graph)} is not a graph. Write cs.graphs.cycle(200), say.")
    names = [graph.name for graph in graphs]
    if len(set(names)) != len(names):
        raise InvalidSpec(
            f"over['graph'] holds two graphs called {max(names, key=names.count)!r}, and results tell them apart by "
            "their names. Write dataclasses.replace(graph, name='...') for one of them."
        )
    given = grid.get("num_agents", [] if fixed["num_agents"] is None else [fixed["num_agents"]])
    if any(n != graph.num_agents for n in given for graph in graphs):
        raise InvalidSpec(
            f"num_agents={shown(given)} is given together with {graphs[0].name}, and a graph has a number of agents of "
            f"its own, {graphs[0].num_agents}. Leave num_agents out."
        )
    return grid


def _checked_protocols(protocol: str | Sequence[str], grid: Mapping[str, list[Any]]) -> tuple[str, ...]:
    protocols = (protocol,) if isinstance(protocol, str) else tuple(protocol)
    for name in protocols:
        if name not in PROTOCOLS:
            raise UnknownName.among("protocol", name, PROTOCOLS)
    if len(set(protocols)) != len(protocols) or not protocols:
        raise InvalidSpec(f"protocol={protocol!r}: write one of {', '.join(PROTOCOLS)}, or several, each once.")
    if "coupling" not in grid and protocols != ("quench",):
        raise InvalidSpec(
            f"protocol={protocol!r} follows the coupling, and over={list(grid)} does not vary it. Add "
            "'coupling': np.geomspace(0.1, 100, 20) to over, or use protocol='quench'."
        )
    return protocols
