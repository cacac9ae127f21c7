"""Figure 3 of paper 001: the collective-learning transition in coupled networks, class by class.

Ten agents, one class each, coupled by Eq. (2) on the complete graph; order parameter, loss and accuracy against the
coupling σ for several depths, in quenches and in an adiabatic sweep; the learning path; cross-accuracies in the three
phases. Couplings are the σ of Eq. (2), in figures too; the paper's own axis appears to show σ/10.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from consilience import graphs, models, tasks
from consilience.algorithms import DiffusiveCoupling
from consilience.errors import InvalidSpec
from consilience.experiments import Sweep, resolve_sweep
from consilience.observables import (
    CriticalCoupling,
    binder_cumulant,
    column_index,
    critical_coupling,
    cumulative_cross_accuracy,
    effective_rank,
    r_squared,
    rank_one,
    susceptibility,
    symmetry_index,
)
from consilience.recipes.recipe import Table

OBSERVE = (
    "accuracy", "loss", "cross_accuracy", "magnetization", "parameter_mean", "consensus_distance", "mergeability",
)  # fmt: skip
NUM_CLASSES = 10
"""Of all four data sets."""
PHASES = (0.0, 30.0, 300.0)
"""Couplings of panels e–g."""

_REDUCED = (0.0, 0.1, 0.25, 0.63, 1.6, 3.2, 6.3, 12.6, 20.0, 30.0, 50.0, 80.0, 125.0, 200.0, 300.0, 316.0)


def _paper_grid() -> tuple[float, ...]:
    logarithmic = np.round(np.geomspace(0.05, 395.0, 28), 3)
    return tuple(sorted({0.0, 3.2, *PHASES, 316.0, *logarithmic.tolist()}))


@dataclass(frozen=True)
class Figure3:
    """The protocol. The defaults are the reduced one: MNIST, 16 couplings, 20,000 rounds, one realization.

    Attributes:
        dataset: "digits", "mnist", "fashion_mnist" or "cifar10".
        networks: what is compared: "D = 0", "D = 1", ... for fully-connected networks, "CNN" for the convolutional one.
        couplings: σ of Eq. (2), increasing.
        num_rounds: rounds per coupling.
        average_after: rounds that are discarded before averaging.
        num_realizations: independent seeds.
        adiabatic: networks that are swept adiabatically upward, too.
        adiabatic_down: networks that are swept adiabatically downward, too.
        num_agents: agents; the classes are dealt out among them.
        width: neurons per hidden layer.
        learning_rate: η.
        weight_decay: γ of γ‖θ‖².
        batch_size: B.
        num_train: training images, all by default.
        num_test: test images, all by default.
        observe_every: rounds between two evaluations.
        margin: the critical coupling is where ⟨A⟩ exceeds chance by this much.
        phase_network: network of panels e–g.
    """

    dataset: str = "mnist"
    networks: tuple[str, ...] = ("D = 0", "D = 1", "D = 2")
    couplings: tuple[float, ...] = _REDUCED
    num_rounds: int = 20_000
    average_after: int = 10_000
    num_realizations: int = 1
    adiabatic: tuple[str, ...] = ("D = 2",)
    adiabatic_down: tuple[str, ...] = ()
    num_agents: int = 10
    width: int = 20
    learning_rate: float = 0.005
    weight_decay: float = 1e-3
    batch_size: int = 32
    num_train: int | None = None
    num_test: int | None = 2000
    observe_every: int = 1000
    margin: float = 0.1
    phase_network: str = "D = 1"

    def __post_init__(self) -> None:
        for name in ("networks", "couplings", "adiabatic", "adiabatic_down"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise InvalidSpec(f"{name}={value!r}: these are several. Write {name}={getattr(Figure3, name)!r}, say.")
            object.__setattr__(self, name, tuple(value))
        numbers = all(isinstance(value, (int, float, np.number)) for value in self.couplings)
        if not numbers or len(self.couplings) < 2 or (np.diff(self.couplings) <= 0).any():
            raise InvalidSpec(
                f"couplings={self.couplings!r}: the learning path is an integral over the coupling and needs at least "
                "two numbers in increasing order. Write couplings=(0.0, 3.2, 30.0, 300.0), say."
            )
        unknown = [name for name in (*self.adiabatic, *self.adiabatic_down, self.phase_network)
                   if name not in self.networks]  # fmt: skip
        if unknown:
            raise InvalidSpec(
                f"{unknown[0]!r} is not among the networks {self.networks} of this figure. Add it to networks, or set "
                "adiabatic, adiabatic_down and phase_network to networks that are there."
            )
        for name in self.networks:
            self.model(name)

    def model(self, network: str) -> models.Model:
        """The model that a label stands for."""
        if network == "CNN":
            return models.cnn()
        depth = str(network).removeprefix("D = ")
        if depth == str(network) or not depth.isdigit():
            raise InvalidSpec(f"{network!r} is not a network of this figure; write 'D = 0', 'D = 1', ... or 'CNN'.")
        return models.mlp(depth=int(depth), width=self.width)


def quick() -> Figure3:
    """Digits, minutes: what `make demo` runs."""
    return Figure3(
        dataset="digits", num_rounds=4000, average_after=2000, num_realizations=3, num_test=None, observe_every=200
    )


def full() -> Figure3:
    """The paper's protocol: 10 realizations, 2·10⁴ rounds discarded and 2·10⁴ averaged, σ up to just below 400."""
    return Figure3(couplings=_paper_grid(), num_rounds=40_000, average_after=20_000, num_realizations=10, num_test=None)


def for_dataset(config: Figure3, dataset: str) -> Figure3:
    """`config` on another data set: CIFAR-10 adds a convolutional network, and of the few digits all are tested."""
    networks = (*config.networks, "CNN") if dataset == "cifar10" and "CNN" not in config.networks else config.networks
    num_test = None if dataset == "digits" else config.num_test
    return dataclasses.replace(config, dataset=dataset, networks=networks, num_test=num_test)


def sweeps(config: Figure3, *, data_dir: str | None = None) -> dict[tuple[str, str], Sweep]:
    """All sweeps of the figure, planned: (protocol, network) → sweep."""
    task = tasks.load(config.dataset, data_dir=data_dir, num_train=config.num_train, num_test=config.num_test)
    shards = tasks.by_class(task, num_agents=config.num_agents)
    algorithm = DiffusiveCoupling(learning_rate=config.learning_rate, weight_decay=config.weight_decay)

    def planned(network: str, protocol: str) -> Sweep:
        return resolve_sweep(
            algorithm,
            over={"coupling": config.couplings, "seed": range(config.num_realizations)},
            protocol=protocol,
            model=config.model(network),
            task=task,
            shards=shards,
            graph=graphs.complete(config.num_agents),
            num_rounds=config.num_rounds,
            batch_size=config.batch_size,
            observe=OBSERVE,
            observe_every=config.observe_every,
            average_after=config.average_after,
            title=f"figure-3 {config.dataset} {network} {protocol}",
        )

    chosen = {"quench": config.networks, "adiabatic_up": config.adiabatic, "adiabatic_down": config.adiabatic_down}
    return {(protocol, network): planned(network, protocol) for protocol, names in chosen.items() for network in names}


@dataclass(frozen=True)
class Result:
    """Everything that the figure shows.

    Attributes:
        config: the protocol.
        curves: protocol → observables with dimensions (network, coupling, seed, ...).
        critical: protocol → network → critical coupling.
        indices: symmetry and column index of ⟨A_x⟩, dimensions (network, coupling).
        paths: network → S_x of the quench, averaged over realizations.
        r2: network → R² against the rank-one S_x of the first network.
        ranks: network → effective rank of S_x.
        seconds: time spent, by part, over all sweeps.
        outcomes: how many replicas completed, diverged, ...
    """

    config: Figure3
    curves: dict[str, xr.Dataset]
    critical: dict[str, dict[str, CriticalCoupling]]
    indices: xr.Dataset
    paths: dict[str, xr.DataArray]
    r2: dict[str, float]
    ranks: dict[str, float]
    seconds: dict[str, float]
    outcomes: dict[str, int]


def run(config: Figure3, execute: Callable[[Sweep], xr.Dataset], *, data_dir: str | None = None) -> Result:
    """Run all sweeps of the figure and evaluate them.

    Args:
        config: the protocol.
        execute: runs or loads one sweep, `experiments.run_sweep` with a store and a progress bar, say.
        data_dir: where data sets are looked for first.
    """
    results = {key: execute(planned) for key, planned in sweeps(config, data_dir=data_dir).items()}
    curves_, critical = {}, {}
    for protocol in dict.fromkeys(protocol for protocol, _ in results):
        members = {network: dataset for (p, network), dataset in results.items() if p == protocol}
        curves_[protocol] = xr.concat(
            [dataset[[*OBSERVE, "outcome", "final_round"]] for dataset in members.values()],
            dim=xr.Variable("network", list(members)), join="exact", combine_attrs="drop",
        )  # fmt: skip
        accuracy = curves_[protocol].accuracy.mean("agent")
        chance = 1 / NUM_CLASSES
        critical[protocol] = {
            network: critical_coupling(accuracy.sel(network=network), threshold=chance + config.margin)
            for network in members
        }
    cross = curves_["quench"].cross_accuracy.mean("seed")
    whole = cross.dropna("coupling")  # without couplings at which a network diverged, for none of the others then
    indices = xr.Dataset({"symmetry_index": symmetry_index(cross), "column_index": column_index(cross)})
    paths = {name: cumulative_cross_accuracy(whole.sel(network=name)) for name in config.networks}
    reference = rank_one(paths[config.networks[0]])
    seconds: dict[str, float] = {
        part: sum(d.attrs["wall_seconds"][part] for d in results.values()) for part in ("advance", "observe", "compile")
    }
    outcomes = [str(o) for dataset in results.values() for o in dataset.outcome.values.ravel()]
    return Result(
        config=config,
        curves=curves_,
        critical=critical,
        indices=indices,
        paths=paths,
        r2={name: r_squared(path, reference) for name, path in paths.items()},
        ranks={name: effective_rank(path) for name, path in paths.items()},
        seconds=seconds,
        outcomes={outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
    )


def rows(result: Result) -> list[dict[str, Any]]:
    """The figure as a table: one row per protocol, network and coupling; means and spreads over realizations."""
    table = []
    num_agents = result.config.num_agents
    for protocol, dataset in result.curves.items():
        means = {
            "accuracy": dataset.accuracy.mean("agent"),
            "loss": dataset.loss.mean("agent"),
            "magnetization": dataset.magnetization.mean("agent"),
        }
        for network in dataset.network.values:
            for coupling in dataset.coupling.values:
                row: dict[str, Any] = {
                    "protocol": protocol, "network": str(network), "coupling": float(coupling),
                }  # fmt: skip
                for name, values in means.items():
                    one = values.sel(network=network, coupling=coupling)
                    row[name] = float(one.mean())
                    row[f"{name}_std"] = float(one.std()) if one.size > 1 else None
                ensemble = means["magnetization"].sel(network=network, coupling=coupling)
                several = ensemble.size > 1
                row["susceptibility"] = float(susceptibility(ensemble, num_agents=num_agents)) if several else None
                row["binder_cumulant"] = float(binder_cumulant(ensemble)) if several else None
                table.append(row)
    return table


def stem(config: Figure3) -> str:
    """The name of the figure's files."""
    return f"figure-3-{config.dataset}"


def tables(result: Result) -> list[Table]:
    """One table per protocol and network: ⟨A⟩, ⟨L⟩, ⟨m⟩ and, for quenches, the two indices, against σ."""

    def number(value: float, spread: float | None) -> str:
        return f"{value:.3f}" if spread is None else f"{value:.3f} ± {spread:.3f}"

    found, all_rows = [], rows(result)
    for protocol in result.curves:
        for network in dict.fromkeys(row["network"] for row in all_rows if row["protocol"] == protocol):
            mine = [row for row in all_rows if (row["protocol"], row["network"]) == (protocol, network)]
            indices = result.indices.sel(network=network)
            columns = ["σ", "⟨A⟩", "⟨L⟩", "⟨m⟩"]
            lines = [
                [f"{row['coupling']:g}", *(number(row[key], row[f"{key}_std"]) for key in
                                           ("accuracy", "loss", "magnetization"))]
                for row in mine
            ]  # fmt: skip
            if protocol == "quench":
                columns += ["symmetry", "column"]
                for line, row in zip(lines, mine, strict=True):
                    at = indices.sel(coupling=row["coupling"])
                    line += [f"{float(at.symmetry_index):.2f}", f"{float(at.column_index):.2f}"]
            found.append(Table(f"{result.config.dataset}, {network}, {protocol.replace('_', ' ')}", columns, lines))
    return found


def remarks(result: Result) -> list[str]:
    """Critical couplings, the learning path, and how the replicas ended."""
    realizations = result.config.num_realizations
    lines = [
        f"critical coupling σ_c, where ⟨A⟩ exceeds chance by {result.config.margin:g} "
        f"(n = {realizations} realization{'s' if realizations > 1 else ''}):"
    ]
    for protocol, members in result.critical.items():
        lines += [f"  {network:6} {protocol.replace('_', ' '):14} {found}" for network, found in members.items()]
    lines.append("learning path: R² against the rank-one S_x of " + next(iter(result.r2)) + ", effective rank of S_x:")
    lines += [f"  {network:6} {value:.2f}  {result.ranks[network]:.2f}" for network, value in result.r2.items()]
    counts = ", ".join(f"{count} {outcome}" for outcome, count in result.outcomes.items())
    work = result.seconds["advance"] + result.seconds["observe"]
    share = result.seconds["observe"] / max(work, 1e-9)
    lines.append(
        f"replicas: {counts}. Added up over blocks, which run side by side, computing took "
        f"{work:.0f} s ({share:.0%} of it evaluation), and compiling {result.seconds['compile']:.0f} s."
    )
    return lines


def as_data(result: Result) -> dict[str, Any]:
    """All numbers of the figure, as plain data."""
    return {
        "config": dataclasses.asdict(result.config),
        "rows": rows(result),
        "critical_couplings": {
            protocol: {network: dataclasses.asdict(critical) for network, critical in members.items()}
            for protocol, members in result.critical.items()
        },
        "symmetry_index": result.indices.symmetry_index.to_series().unstack(0).to_dict(),
        "column_index": result.indices.column_index.to_series().unstack(0).to_dict(),
        "r_squared": result.r2,
        "effective_rank": result.ranks,
        "outcomes": result.outcomes,
        "seconds": result.seconds,
    }


def draw(result: Result) -> Any:
    """The figure, panels a–h."""
    import matplotlib.pyplot as plt

    from consilience import plots

    config, quench = result.config, result.curves["quench"]
    with plots.style():
        figure = plt.figure(figsize=(8.6, 7.4), layout="constrained")
        layout = figure.subplot_mosaic(
            [["a", "a", "b", "b", "c", "c"], ["d", "d", "d", "h", "h", "h"], ["e", "e", "f", "f", "g", "g"]],
            height_ratios=(1.15, 1.1, 1.0),
        )
        for name, axes in layout.items():
            plots.letter(axes, str(name))
        panels = {
            "a": ("magnetization", r"mean magnetization $\langle m \rangle$"),
            "b": ("loss", r"mean test loss $\langle L \rangle$"),
            "c": ("accuracy", r"mean test accuracy $\langle A \rangle$"),
        }
        for name, (variable, label) in panels.items():
            axes, quantity = layout[name], quench[variable].mean("agent")
            plots.curves(axes, quantity)
            for protocol in ("adiabatic_up", "adiabatic_down"):
                if protocol in result.curves:
                    swept = result.curves[protocol][variable].mean("agent")
                    plots.curves(axes, swept, dashed=True, label=f"\n{protocol.replace('_', ' ')}")
            axes.set_ylabel(label)
            if name == "b":
                axes.set_yscale("log")
            if name == "c":
                axes.set_ylim(0, 1)
            plots.linear_inset(axes, quantity)
        plots.mark_critical(layout["c"], {name: c.value for name, c in result.critical["quench"].items()}, top=1.0)
        layout["a"].legend(loc="upper left", fontsize=6, handlelength=1.6)
        plots.learning_path(layout["d"], result.paths, rank_one(result.paths[config.networks[0]]), result.r2)
        _draw_indices(layout["h"], result)
        _draw_phases(figure, [layout[name] for name in "efg"], result)
        figure.suptitle(subtitle(config), fontsize=8)
        plt.close(figure)
    return figure


def subtitle(config: Figure3) -> str:
    """What was run, in two lines."""
    plural = "s" if config.num_realizations > 1 else ""
    band = "bands: one standard deviation" if plural else "no bands"
    return (
        f"{config.dataset}: {config.num_agents} agents, complete graph, η = {config.learning_rate:g}, "
        f"γ = {config.weight_decay:g}, B = {config.batch_size}\naverages over rounds {config.average_after:,} to "
        f"{config.num_rounds:,}; {config.num_realizations} realization{plural} ({band})"
    )


def _draw_indices(axes: Any, result: Result) -> None:
    from consilience import plots

    names = list(result.config.networks)
    colour = plots.colours(names)
    for name in names:
        one = result.indices.sel(network=name)
        axes.plot(one.coupling, one.symmetry_index, "o-", color=colour[name], markersize=2.5)
        axes.plot(one.coupling, one.column_index, "x--", color=colour[name], markersize=3)
    plots.coupling_axis(axes, result.indices.coupling.values)
    axes.axhline(0, color="0.8", linewidth=0.5, zorder=0)
    axes.set_ylim(-0.25, 1.05)
    axes.set_ylabel(r"index of $\langle A_x \rangle$")
    axes.plot([], [], "o-", color="0.4", markersize=2.5, label="symmetry")
    axes.plot([], [], "x--", color="0.4", markersize=3, label="column")
    axes.legend(loc=(0.01, 0.48), handlelength=2.2)


def _draw_phases(figure: Any, panels: list[Any], result: Result) -> None:
    from consilience import plots

    network = result.config.phase_network
    cross = result.curves["quench"].cross_accuracy.sel(network=network).mean("seed")
    path = result.paths[network]
    off = np.where(np.eye(path.sizes["agent"], dtype=bool), 0.0, path.transpose("agent", "agent_evaluated").values)
    order = np.argsort(off.sum(axis=0))
    labels = [str(agent) for agent in cross.agent.values]
    for axes, coupling in zip(panels, PHASES, strict=True):
        one = cross.sel(coupling=coupling, method="nearest")
        title = rf"$A_x$, {network}, $\sigma$ = {float(one.coupling):g}"
        image = plots.cross_matrix(axes, one, order, labels, title)
    figure.colorbar(image, ax=panels, shrink=0.85, aspect=18, pad=0.01, label="accuracy")
