"""Figure 2 of paper 001: from disorder to order to disorder, as the effective theory predicts it.

Order parameter and loss against the coupling σ̂ of Eq. (4) for several depths, in quenches and adiabatically; the
ranking of the cross-accuracies of Eq. (8) in the plane of the disorder. Beyond the paper: the signed mean against the
offset ε of the initial condition, and what becomes of the ordered phase when one waits longer than t = 10.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.stats
import xarray as xr

from consilience.errors import InvalidSpec
from consilience.experiments import Computation, Sweep
from consilience.observables import binder_cumulant, susceptibility
from consilience.recipes.recipe import Execute, Table, several
from consilience.theory import landau

SIGMA = r"coupling $\hat{\sigma}$ of Eq. (4)"


def _grid(num_positive: int) -> tuple[float, ...]:
    return (0.0, *np.geomspace(1e-2, 10**2.5, num_positive).round(6).tolist())


@dataclass(frozen=True)
class Figure2:
    """The protocol. The defaults are the paper's (Appendix B).

    Attributes:
        depths: D of each curve.
        couplings: σ̂ of Eq. (4), increasing.
        num_agents: N.
        num_realizations: draws of disorder and initial condition.
        weight_decay: γ̂.
        disorder_std: standard deviation of δ; its mean is 0.
        offset: ε of the initial condition, uniform on [−2 + ε, 2 + ε].
        span: time for which each coupling is integrated.
        average_after: from when on observables are averaged.
        adiabatic: depths that are swept adiabatically upward, too.
        offsets: ε of panel f, at the first depth above 0.
        spans: times of panel g; averages over the second half of each.
        wait_depths: depths of panel g.
        plane_mean: ⟨δ⟩ of panels c–e, towards 0 from above.
        plane_couplings: σ̂ of panels c–e.
        rtol: relative tolerance of the integration, that of SciPy's RK45 by default.
        atol: absolute tolerance.
        seed: of disorder and initial conditions.
    """

    depths: tuple[int, ...] = (0, 1, 2)
    couplings: tuple[float, ...] = _grid(59)
    num_agents: int = 200
    num_realizations: int = 200
    weight_decay: float = 1e-3
    disorder_std: float = 2.0
    offset: float = 0.05
    span: float = 10.0
    average_after: float = 5.0
    adiabatic: tuple[int, ...] = (0, 1, 2)
    offsets: tuple[float, ...] = (0.0, 0.05, 0.2, 0.5, 1.0)
    spans: tuple[float, ...] = (10.0, 100.0, 1000.0)
    wait_depths: tuple[int, ...] = (1, 2)
    plane_mean: float = 0.1
    plane_couplings: tuple[float, ...] = (0.0, 3.0, 300.0)
    rtol: float = 1e-3
    atol: float = 1e-6
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("depths", "couplings", "adiabatic", "offsets", "spans", "wait_depths", "plane_couplings"):
            kept = several(name, getattr(self, name), getattr(Figure2, name), at_least=0 if name == "adiabatic" else 1)
            object.__setattr__(self, name, kept)
        if len(self.plane_couplings) != 3:
            raise InvalidSpec(
                f"plane_couplings={self.plane_couplings!r}: panels c, d and e show one coupling each. Write three, "
                f"plane_couplings={Figure2.plane_couplings!r}."
            )


def quick() -> Figure2:
    """Fewer couplings and realizations: seconds."""
    return Figure2(couplings=_grid(23), num_realizations=50)


def for_dataset(config: Figure2, dataset: str) -> Figure2:
    """The theory has its own, Gaussian disorder.

    Raises:
        InvalidSpec: always.
    """
    raise InvalidSpec(
        f"--dataset {dataset}: figure 2 is theory with Gaussian disorder, and uses no data. `consilience predict "
        f"transition --dataset {dataset}` solves the theory for the disorder of a data set."
    )


def sweeps(config: Figure2, *, data_dir: str | None = None) -> dict[str, Sweep]:
    """Nothing is simulated."""
    return {}


def stem(config: Figure2) -> str:
    """The name of the figure's files."""
    return "figure-2"


def _sweep(config: Figure2, *, depth: int, protocol: str, offset: float, span: float, every: int = 1) -> xr.Dataset:
    """One curve of the figure; `every` thins out the couplings."""
    size = config.num_realizations, config.num_agents
    result = landau.sweep(
        landau.gaussian_disorder(*size, std=config.disorder_std, seed=config.seed),
        landau.uniform_start(*size, offset=offset, seed=config.seed),
        depth=depth,
        couplings=config.couplings[::every],
        protocol=protocol,
        weight_decay=config.weight_decay,
        span=span,
        average_after=config.average_after * span / config.span,
        rtol=config.rtol,
        atol=config.atol,
    )
    return result[["magnetization", "loss", "outcome"]]


def computation(config: Figure2) -> Computation:
    """All curves of the figure, as cells that do not depend on each other."""
    base = {"offset": config.offset, "span": config.span}
    thinned = max(1, len(config.couplings) // 20)
    cells = {}
    # The longest first, so that no thread is left with it at the end.
    for depth in sorted(config.adiabatic, reverse=True):
        cells[f"adiabatic_up,D={depth}"] = {**base, "depth": depth, "protocol": "adiabatic_up"}
    for depth in sorted(config.depths, reverse=True):
        cells[f"quench,D={depth}"] = {**base, "depth": depth, "protocol": "quench"}
    for span in config.spans:
        for depth in config.wait_depths:
            cells[f"span={span:g},D={depth}"] = {
                **base, "depth": depth, "protocol": "quench", "span": span, "every": thinned,
            }  # fmt: skip
    for offset in config.offsets:
        cells[f"offset={offset:g}"] = {
            **base, "depth": _offset_depth(config), "protocol": "quench", "offset": offset, "every": thinned,
        }  # fmt: skip
    return Computation(
        title="figure-2",
        subject="landau.sweep",
        parameters={"config": config},
        cells={name: partial(_sweep, config, **options) for name, options in cells.items()},
    )


def _offset_depth(config: Figure2) -> int:
    return min((depth for depth in config.depths if depth > 0), default=1)


@dataclass(frozen=True)
class Result:
    """Everything that the figure shows.

    Attributes:
        config: the protocol.
        curves: protocol → `magnetization`, `loss`, `outcome` with dimensions (network, coupling, seed); the networks
            are "D = 0", "D = 1", ...
        offsets: signed mean magnetization against ε, dimensions (offset, coupling, seed).
        spans: the same quantities against the time one waits, dimensions (span, network, coupling, seed).
    """

    config: Figure2
    curves: dict[str, xr.Dataset]
    offsets: xr.Dataset
    spans: xr.Dataset

    @property
    def num_diverged(self) -> int:
        """Realizations that could not be integrated to the end; they are left out of every average."""
        parts = (*self.curves.values(), self.offsets, self.spans)
        return sum(int((part.outcome == "diverged").sum()) for part in parts)


def run(config: Figure2, execute: Execute, *, data_dir: str | None = None) -> Result:
    """Compute all curves of the figure, or load them.

    Args:
        config: the protocol.
        execute: computes or loads, `experiments.compute` with a store, say.
        data_dir: not used.

    Example:
        >>> from consilience.experiments import compute
        >>> small = Figure2(couplings=(0.0, 2.0, 300.0), num_agents=20, num_realizations=10, depths=(1,), adiabatic=(),
        ...                 spans=(10.0,), wait_depths=(1,), offsets=(0.0,))
        >>> run(small, compute).curves["quench"].magnetization.dims
        ('network', 'coupling', 'seed')
    """
    done = execute(computation(config))
    curves = {}
    for protocol, depths in (("quench", config.depths), ("adiabatic_up", config.adiabatic)):
        if depths:
            curves[protocol] = _joined([done[f"{protocol},D={depth}"] for depth in depths], "network", _names(depths))
    waited = _names(config.wait_depths)
    spans = [
        _joined([done[f"span={span:g},D={depth}"] for depth in config.wait_depths], "network", waited)
        for span in config.spans
    ]
    return Result(
        config=config,
        curves=curves,
        offsets=_joined([done[f"offset={offset:g}"] for offset in config.offsets], "offset", config.offsets),
        spans=_joined(spans, "span", config.spans),
    )


def _names(depths: Iterable[int]) -> list[str]:
    return [f"D = {depth}" for depth in depths]


def _joined(parts: list[xr.Dataset], dim: str, values: Iterable[Any]) -> xr.Dataset:
    return xr.concat(parts, dim=xr.Variable(dim, list(values)), join="exact", combine_attrs="override")


def ranking_plane(config: Figure2, coupling: float, *, num_points: int = 101) -> xr.DataArray:
    """The rank of (Â_x)_ij, Eq. (8), among all pairs of a plane of disorder 0 ≤ δ_i, δ_j ≤ 2 std, scaled to [0, 1].

    Args:
        config: for γ̂, the width of the disorder and its mean, towards 0 from above.
        coupling: σ̂.
        num_points: along each axis.

    Returns:
        Dimensions (agent, agent_evaluated) with the values of δ as coordinates.

    Source:
        Paper 001, Eq. (8) and Fig. 2c–e.
    """
    delta = np.linspace(0, 2 * config.disorder_std, num_points)
    # m* depends on the other agents through ⟨δ⟩ alone, so that one agent with that mean stands for all of them.
    pulled = config.plane_mean / (1 + config.weight_decay)
    m = (delta + coupling * pulled) / (1 + config.weight_decay + coupling)
    values = m[:, None] * (2 * delta[None, :] - m[:, None])
    ranks = scipy.stats.rankdata(values.round(12)).reshape(values.shape)
    return xr.DataArray(
        (ranks - 1) / (ranks.size - 1),
        dims=("agent", "agent_evaluated"),
        coords={"agent": delta, "agent_evaluated": delta},
        name="rank",
    )


def rows(result: Result) -> list[dict[str, Any]]:
    """The figure as a table: one row per protocol, depth and coupling; means and spreads over realizations."""
    table = []
    for protocol, dataset in result.curves.items():
        for network in dataset.network.values:
            one = dataset.sel(network=network)
            m = one.magnetization
            chi = susceptibility(m, num_agents=result.config.num_agents)
            cumulant = binder_cumulant(m)
            for k, coupling in enumerate(dataset.coupling.values):
                at = {"coupling": k}
                table.append(
                    {
                        "protocol": protocol,
                        "network": str(network),
                        "coupling": float(coupling),
                        "magnetization": float(m[at].mean()),
                        "magnetization_std": float(m[at].std()),
                        "abs_magnetization": float(abs(m[at]).mean()),
                        "abs_magnetization_std": float(abs(m[at]).std()),
                        "loss": float(one.loss[at].mean()),
                        "loss_std": float(one.loss[at].std()),
                        "susceptibility": float(chi[at]),
                        "binder_cumulant": float(cumulant[at]),
                        "num_diverged": int((one.outcome[at] == "diverged").sum()),
                    }
                )
    return table


def tables(result: Result) -> list[Table]:
    """⟨m⟩, |⟨m⟩| and ⟨L̂⟩ against σ̂, one table per protocol and depth; every third coupling of a fine grid."""
    found, all_rows = [], rows(result)
    for protocol, dataset in result.curves.items():
        every = max(1, dataset.sizes["coupling"] // 20)
        for network in dataset.network.values:
            mine = [row for row in all_rows if (row["protocol"], row["network"]) == (protocol, str(network))][::every]
            lines = [
                [
                    f"{row['coupling']:.3g}",
                    *(f"{row[name]:.3f} ± {row[f'{name}_std']:.3f}" for name in
                      ("abs_magnetization", "magnetization", "loss")),
                    f"{row['susceptibility']:.2f}",
                    f"{row['binder_cumulant']:.2f}",
                ]
                for row in mine
            ]  # fmt: skip
            columns = ["σ̂", "|⟨m⟩|", "⟨m⟩", "⟨L̂⟩", "χ", "U"]
            found.append(Table(f"theory, {network}, {protocol.replace('_', ' ')}", columns, lines))
    return found


def ordered_range(magnetization: xr.DataArray) -> tuple[float, float, float]:
    """Where |⟨m⟩|, averaged over realizations, is largest, and between which couplings it exceeds half of that.

    Args:
        magnetization: ⟨m⟩, dimensions (coupling, seed).

    Returns:
        The coupling of the maximum, and the first and last coupling of the grid above half height (infinite if it is
        still above at the last coupling).
    """
    curve = abs(magnetization).mean("seed")
    sigma, above = curve.coupling.values, np.flatnonzero((curve > 0.5 * curve.max()).values)
    last = np.inf if above[-1] == len(sigma) - 1 else float(sigma[above[-1]])
    return float(sigma[curve.values.argmax()]), float(sigma[above[0]]), last


def remarks(result: Result) -> list[str]:
    """Where order sets in and ends, what ε it takes for the signed mean, and what waiting does to the end."""
    config = result.config
    lines = [
        f"n = {config.num_realizations} realizations of N = {config.num_agents} agents; ± is one standard deviation "
        f"over them. {result.num_diverged or 'None'} diverged.",
        "order, |⟨m⟩| above half of its maximum (points of the grid), and the maximum:",
    ]
    for protocol, dataset in result.curves.items():
        for network in dataset.network.values:
            at, first, last = ordered_range(dataset.magnetization.sel(network=network))
            top = float(abs(dataset.magnetization.sel(network=network)).mean("seed").max())
            until = "the end of the grid" if np.isinf(last) else f"{last:.3g}"
            where = f"σ̂ = {first:.3g} to {until}, maximum {top:.2f} at σ̂ = {at:.3g}"
            if str(network) == "D = 0":
                where = "does not depend on the coupling"
            lines.append(f"  {network:6} {protocol.replace('_', ' '):14} {where}")
    lines.append(f"signed mean ⟨m⟩ at its largest, D = {_offset_depth(config)}, and its share of |⟨m⟩| there:")
    signed, size = result.offsets.magnetization.mean("seed"), abs(result.offsets.magnetization).mean("seed")
    for offset in result.offsets.offset.values:
        one = signed.sel(offset=offset)
        k = int(one.values.argmax())
        share = float(one[k] / size.sel(offset=offset)[k])
        lines.append(f"  ε = {offset:<5g} {float(one[k]):.2f} at σ̂ = {float(one.coupling[k]):.3g}, {share:.0%}")
    lines.append("how far order reaches when one waits longer (last coupling above half of the maximum):")
    for network in result.spans.network.values:
        ends = [ordered_range(result.spans.magnetization.sel(span=s, network=network))[2] for s in config.spans]
        shown = ", ".join(
            f"t = {span:g}: {'the end of the grid' if np.isinf(end) else f'{end:.3g}'}"
            for span, end in zip(config.spans, ends, strict=True)
        )
        lines.append(f"  {network:6} {shown}")
    return lines


def as_data(result: Result) -> dict[str, Any]:
    """All numbers of the figure, as plain data."""
    return {
        "config": dataclasses.asdict(result.config),
        "rows": rows(result),
        "signed_magnetization": {
            f"{offset:g}": result.offsets.magnetization.sel(offset=offset).mean("seed").values.tolist()
            for offset in result.config.offsets
        },
        "num_diverged": result.num_diverged,
    }


def draw(result: Result) -> Any:
    """The figure, panels a–g."""
    import matplotlib.pyplot as plt

    from consilience import plots

    config, quench = result.config, result.curves["quench"]
    with plots.style():
        figure = plt.figure(figsize=(8.6, 7.6), layout="constrained")
        layout = figure.subplot_mosaic(
            [["a", "a", "a", "b", "b", "b"], ["c", "c", "d", "d", "e", "e"], ["f", "f", "f", "g", "g", "g"]],
            height_ratios=(1.2, 1.0, 1.0),
        )
        for name, axes in layout.items():
            plots.letter(axes, str(name))
        size = abs(quench.magnetization)
        plots.curves(layout["a"], size, axis_label=SIGMA)
        plots.curves(layout["b"], quench.loss, axis_label=SIGMA)
        if "adiabatic_up" in result.curves:
            swept = result.curves["adiabatic_up"]
            plots.curves(layout["a"], abs(swept.magnetization), dashed=True, label=", adiabatic", axis_label=SIGMA)
            plots.curves(layout["b"], swept.loss, dashed=True, every_label=False, axis_label=SIGMA)
        layout["a"].set_ylabel(r"order parameter $|\langle m \rangle|$")
        layout["a"].set_ylim(bottom=0)
        layout["a"].legend(loc="upper left", ncol=2, fontsize=6)
        layout["b"].set_ylabel(r"mean effective loss $\langle \hat{L} \rangle$")
        _draw_accuracy(layout["b"], result)
        _draw_planes(figure, [layout[name] for name in "cde"], config)
        _draw_offsets(layout["f"], result)
        _draw_spans(layout["g"], result)
        figure.suptitle(subtitle(config), fontsize=8)
        plt.close(figure)
    return figure


def subtitle(config: Figure2) -> str:
    """What was integrated, in two lines."""
    return (
        f"effective theory: N = {config.num_agents}, complete graph, δ ~ N(0, {config.disorder_std:g}²), "
        f"γ̂ = {config.weight_decay:g}, m(0) uniform on [−2 + ε, 2 + ε], ε = {config.offset:g}\n"
        f"averages over t = {config.average_after:g} to {config.span:g}; {config.num_realizations} realizations "
        "(bands: one standard deviation); dashed: adiabatic, upward"
    )


def _draw_accuracy(axes: Any, result: Result) -> None:
    """The inset of panel b: 1 − ⟨L̂⟩ in a reduced range."""
    from consilience import plots

    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.45 * (high - low))
    inset = axes.inset_axes((0.5, 0.6, 0.48, 0.38))
    for protocol, dataset in result.curves.items():
        plots.curves(
            inset, (1 - dataset.loss).mean("seed").expand_dims("seed"), dashed=protocol != "quench", axis_label=""
        )
    inset.set_ylim(-1.05, 1.15)
    for line in inset.lines:
        line.set_markersize(1.5)
    inset.tick_params(labelsize=5.5, length=2, pad=1.5)
    inset.set_ylabel(r"$1 - \langle \hat{L} \rangle$", fontsize=6, labelpad=1)


def _draw_planes(figure: Any, panels: list[Any], config: Figure2) -> None:
    names = ("no", "medium", "strong")
    for axes, coupling, name in zip(panels, config.plane_couplings, names, strict=True):
        plane = ranking_plane(config, coupling)
        image = axes.pcolormesh(plane.agent_evaluated, plane.agent, plane, cmap="magma", rasterized=True)
        axes.set_xlabel(r"$\delta_j$ of the data evaluated")
        axes.set_ylabel(r"$\delta_i$ of the agent")
        axes.set_title(rf"{name} coupling, $\hat{{\sigma}}$ = {coupling:g}")
        axes.set_aspect("equal")
    figure.colorbar(image, ax=panels, shrink=0.85, aspect=18, pad=0.01, label=r"rank of $\hat{A}_x$, Eq. (8)")


def _shades(count: int) -> list[Any]:
    import matplotlib as mpl

    return [mpl.colormaps["viridis"](0.85 * k / max(1, count - 1)) for k in range(count)]


def _draw_offsets(axes: Any, result: Result) -> None:
    from consilience import plots

    offsets = result.offsets
    for shade, offset in zip(_shades(offsets.sizes["offset"]), offsets.offset.values, strict=True):
        one = offsets.magnetization.sel(offset=offset).mean("seed")
        axes.plot(one.coupling, one, "o-", color=shade, markersize=2, linewidth=0.9, label=rf"$\epsilon$ = {offset:g}")
    plots.coupling_axis(axes, offsets.coupling.values, label=SIGMA)
    axes.axhline(0, color="0.8", linewidth=0.5, zorder=0)
    axes.set_ylabel(r"signed mean $\langle m \rangle$")
    axes.set_title(f"D = {_offset_depth(result.config)}, quench: the offset of the start")
    axes.legend(loc="upper left")


def _draw_spans(axes: Any, result: Result) -> None:
    from consilience import plots

    spans = result.spans
    styles = ("-", "--", ":", "-.")
    for shade, span in zip(_shades(spans.sizes["span"]), spans.span.values, strict=True):
        for style, network in zip(styles, spans.network.values, strict=False):
            one = abs(spans.magnetization.sel(span=span, network=network)).mean("seed")
            axes.plot(one.coupling, one, style, color=shade, linewidth=1.1, label=f"t = {span:g}, {network}")
    plots.coupling_axis(axes, spans.coupling.values, label=SIGMA)
    axes.set_ylim(0, 1.4 * axes.get_ylim()[1])  # room for the legend
    axes.set_ylabel(r"order parameter $|\langle m \rangle|$")
    axes.set_title("quench: the ordered phase grows while one waits")
    axes.legend(loc="upper left", ncol=spans.sizes["span"], fontsize=6)
