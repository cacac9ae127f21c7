"""Panels of a collective-learning transition: curves against coupling, learning paths and cross-matrices."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from consilience.errors import InvalidSpec
from consilience.plots.style import colours, coupling_axis, markers


def curves(
    axes: Axes,
    quantity: xr.DataArray,
    *,
    series: str = "network",
    coupling: str = "coupling",
    over: str = "seed",
    dashed: bool = False,
    label: str = "",
    every_label: bool = True,
    axis_label: str = r"coupling $\sigma$ of Eq. (2)",
) -> None:
    """Mean over realizations against coupling, one curve per network, with a band of one standard deviation.

    Args:
        axes: where to draw.
        quantity: dimensions (series, coupling, over). NaN (diverged replicas) are left out.
        series: dimension of the curves.
        coupling: dimension of the horizontal axis.
        over: dimension of the realizations; a single one has no band.
        dashed: dashed lines without markers (an adiabatic sweep) instead of markers (a quench).
        label: appended to the labels of the curves.
        every_label: whether the curves are labelled at all.
        axis_label: of the horizontal axis.

    Example:
        >>> accuracy = xr.DataArray([[[0.1, 0.3], [0.7, 0.9]]], dims=("network", "coupling", "seed"),
        ...                         coords={"network": ["D = 0"], "coupling": [0.0, 10.0]})
        >>> axes = Figure().subplots()
        >>> curves(axes, accuracy)
        >>> axes.lines[0].get_ydata().tolist()
        [0.2, 0.8]
    """
    quantity = quantity.sortby(coupling)
    names = [str(name) for name in quantity[series].values]
    colour, marker = colours(names), markers(names)
    for name in names:
        one = quantity.sel({series: name})
        mean, spread = one.mean(over), one.std(over)
        x = one[coupling].values
        shown = f"{name}{label}" if every_label else None
        if dashed:
            axes.plot(x, mean, "--", color=colour[name], label=shown)
        else:
            axes.plot(x, mean, f"{marker[name]}-", color=colour[name], label=shown, linewidth=0.8)
        if one.sizes[over] > 1 and not dashed:
            axes.fill_between(x, mean - spread, mean + spread, color=colour[name], alpha=0.2, linewidth=0)
    coupling_axis(axes, quantity[coupling].values, label=axis_label)


def linear_inset(axes: Axes, quantity: xr.DataArray, *, series: str = "network", over: str = "seed") -> Axes:
    """The same curves on a linear axis of the coupling, in an inset above them for which the panel makes room.

    Args:
        axes: a panel in which `curves` has drawn; its vertical axis is extended upward by two thirds.
        quantity: dimensions (series, coupling, over).
        series: dimension of the curves.
        over: dimension of the realizations.

    Example:
        >>> accuracy = xr.DataArray([[[0.1], [0.8]]], dims=("network", "coupling", "seed"),
        ...                         coords={"network": ["D = 0"], "coupling": [0.0, 10.0]})
        >>> axes = Figure().subplots()
        >>> curves(axes, accuracy)
        >>> axes.get_xscale(), linear_inset(axes, accuracy).get_xscale()
        ('symlog', 'linear')
    """
    quantity = quantity.sortby("coupling")
    is_log = axes.get_yscale() == "log"
    low, high = np.log10(axes.get_ylim()) if is_log else axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= (np.log10(tick) if is_log else tick) <= high]
    top = high + 0.66 * (high - low)
    axes.set_ylim(*(10.0 ** np.array([low, top]) if is_log else (low, top)))
    axes.set_yticks(ticks)
    inset = axes.inset_axes((0.52, 0.71, 0.47, 0.27))
    names = [str(name) for name in quantity[series].values]
    colour = colours(names)
    for name in names:
        one = quantity.sel({series: name}).mean(over)
        inset.plot(one["coupling"], one, color=colour[name], linewidth=0.9)
    if is_log:
        inset.set_yscale("log")
    inset.tick_params(labelsize=5.5, length=2, pad=1.5)
    inset.set_xlabel(r"$\sigma$, linear", fontsize=5.5, labelpad=1)
    return inset


def learning_path(axes: Axes, paths: dict[str, xr.DataArray], reference: xr.DataArray, r2: dict[str, float]) -> None:
    """Entries of each network's S_x against the entries of a rank-one reference, both shifted by their means.

    Args:
        axes: where to draw.
        paths: network → S_x, dimensions (agent, agent_evaluated).
        reference: the rank-one S_x of depth 0.
        r2: network → R².

    Example:
        >>> path = xr.DataArray([[3.0, 1.0], [2.0, 5.0]], dims=("agent", "agent_evaluated"))
        >>> axes = Figure().subplots()
        >>> learning_path(axes, {"D = 0": path}, path, {"D = 0": 1.0})
        >>> [line.get_label() for line in axes.lines]
        ['D = 0: $R^2$ = 1.00', 'linear fit']
    """
    colour, marker = colours(list(paths)), markers(list(paths))
    x = reference.values.ravel() - float(reference.mean())
    for name, path in paths.items():
        y = path.transpose(*reference.dims).values.ravel() - float(path.mean())
        axes.plot(x, y, marker[name], color=colour[name], markersize=2.5, alpha=0.7, markeredgewidth=0,
                  label=f"{name}: $R^2$ = {r2[name]:.2f}")  # fmt: skip
    pooled = np.concatenate([p.transpose(*reference.dims).values.ravel() - float(p.mean()) for p in paths.values()])
    finite = np.isfinite(pooled)  # a network all of whose replicas diverged has no path
    slope, offset = np.polyfit(np.tile(x, len(paths))[finite], pooled[finite], 1)
    ends = np.array([x.min(), x.max()])
    axes.plot(ends, slope * ends + offset, color="#c22f2f", linewidth=1, label="linear fit")
    axes.set_xlabel(r"rank-one $S_x$ of $D = 0$ (centred)")
    axes.set_ylabel(r"$S_x$ (centred)")
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.3 * (high - low), high)  # room for the legend
    axes.legend(loc="lower center", ncol=2, handletextpad=0.3, borderpad=0.1)


def cross_matrix(axes: Axes, matrix: xr.DataArray, order: np.ndarray, labels: list[str], title: str) -> AxesImage:
    """A cross-accuracy matrix with rows and columns in the same order, the first at the lower left.

    Args:
        axes: where to draw.
        matrix: dimensions (agent, agent_evaluated).
        order: positions of the agents, from lowest to highest.
        labels: of the agents, in the matrix's own order.
        title: above the panel.

    Example:
        >>> matrix = xr.DataArray([[0.9, 0.1], [0.2, 0.8]], dims=("agent", "agent_evaluated"))
        >>> image = cross_matrix(Figure().subplots(), matrix, np.array([1, 0]), ["ann", "bob"], "isolated")
        >>> image.get_array().tolist()
        [[0.8, 0.2], [0.1, 0.9]]
    """
    values = matrix.transpose("agent", "agent_evaluated").values[np.ix_(order, order)]
    image = axes.imshow(values, vmin=0, vmax=1, origin="lower", cmap="magma", interpolation="nearest")
    ticks = np.arange(len(order))
    step = max(1, len(order) // 12)
    shown = [labels[position] for position in order[::step]]
    axes.set_xticks(ticks[::step], shown)
    axes.set_yticks(ticks[::step], shown)
    axes.tick_params(length=0, labelsize=6)
    axes.set_xlabel("evaluated on the data of agent")
    axes.set_ylabel("agent")
    axes.set_title(title)
    axes.spines[:].set_visible(False)
    return image


def mark_critical(axes: Axes, couplings: dict[str, float], *, top: float) -> None:
    """A dotted line at each network's critical coupling, from the bottom of the panel up to the value `top`.

    Example:
        >>> axes = Figure().subplots()
        >>> mark_critical(axes, {"D = 0": 1.6, "D = 1": np.nan}, top=0.2)
        >>> len(axes.lines)
        1
    """
    colour = colours(list(couplings))
    for name, value in couplings.items():
        if np.isfinite(value) and value > 0:
            axes.plot([value, value], [axes.get_ylim()[0], top], ":", color=colour[name], linewidth=0.8)


def overview(dataset: xr.Dataset, *, title: str = "") -> Figure:
    """A quick look at any sweep over "coupling": all its scalar observables, averaged over agents.

    Args:
        dataset: what `sweep` returns.
        title: above the panels; the data set's own title by default.

    Raises:
        InvalidSpec: if there is nothing to draw.

    Example:
        >>> dataset = xr.Dataset({"loss": (("coupling", "agent"), [[2.0, 1.0], [0.4, 0.6]])}, {"coupling": [0.0, 10.0]})
        >>> overview(dataset).axes[0].get_ylabel()
        'loss'
    """
    import matplotlib.pyplot as plt

    from consilience.plots.style import style

    axis = "coupling" if "coupling" in dataset.dims else "round"
    drawable = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if axis in variable.dims and variable.dtype.kind == "f" and not str(name).startswith("params/")
        and set(variable.dims).isdisjoint({"agent_evaluated", "class"})
    ]  # fmt: skip
    if not drawable:
        raise InvalidSpec(
            f"A data set with dimensions {tuple(map(str, dataset.dims))} and variables {tuple(map(str, dataset))} has "
            "no observable of the agents along 'coupling' or 'round' to draw. Sweep over the coupling, or record "
            "rounds (without average_after)."
        )
    with style():
        figure, rows = plt.subplots(1, len(drawable), figsize=(2.6 * len(drawable), 2.4), layout="constrained",
                                    squeeze=False)  # fmt: skip
        for axes, name in zip(rows[0], drawable, strict=True):
            variable = dataset[name]
            if axis == "coupling" and "round" in variable.dims:
                variable = variable.isel(round=-1)
            mean = (variable.mean("agent") if "agent" in variable.dims else variable).sortby(axis)
            others = [dim for dim in mean.dims if dim != axis]
            flat = mean.stack(series=others) if others else mean.expand_dims("series")
            for k in range(flat.sizes["series"]):
                axes.plot(mean[axis], flat.isel(series=k).values, color="#2f74b5", alpha=0.7, marker=".")
            axes.set_ylabel(variable.attrs.get("long_name", name))
            if axis == "coupling":
                coupling_axis(axes, mean[axis].values)
            else:
                axes.set_xlabel("round")
        figure.suptitle(title or dataset.attrs.get("title", ""), fontsize=9)
        plt.close(figure)
    return figure
