"""Three populations at D = 1, and what is computed for each: the magnetization M of many samples of several sizes.

- *pure*: δ_i = μ for all agents, control μ.
- *narrow* disorder: δ ~ N(μ, s²) with s so small that no agent orders on its own, control μ, integrated to rest.
- *wide* disorder: the paper's δ ~ N(0, 2²), control σ̂, after a short and after a long time.

All start from m(0) uniform on [−2, 2], without the paper's offset ε: nothing prefers a sign.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr

from consilience.errors import InvalidSpec
from consilience.experiments import Computation, Sweep
from consilience.recipes.finite_size.scaling import Floats, critical_mean
from consilience.recipes.recipe import several
from consilience.theory import landau

_RECORDS = 9
"""Moments in the second half of a span at which M is recorded; in between it changes by less than a factor of two."""

_BIAS = 1e-7
"""Bias whose growth is followed: small enough for growth to be linear until it exceeds the √N of any size here."""
_NUM_PAIRS = 4096

_INCREASING = (
    "pure_distances", "narrow_sizes", "narrow_distances", "narrow_spans", "wide_sizes", "couplings", "wide_spans",
)  # fmt: skip


@dataclass(frozen=True)
class FiniteSize:
    """The protocol.

    Attributes:
        weight_decay: γ̂.
        coupling: σ̂ of the pure population and of narrow disorder.
        pure_distances: μ − γ̂ in the pure population, increasing.
        pure_agents: N of the pure population.
        pure_realizations: its initial conditions.
        narrow_std: s, at most σ̂/10.
        narrow_sizes: N, increasing.
        narrow_distances: μ − μ_c in units of s/√N of the largest N, increasing, 0 among them.
        narrow_realizations: samples, for each size.
        narrow_spans: times until which narrow disorder is integrated; all before the last are to show that it is at
            rest.
        wide_std: standard deviation of δ; its mean is 0.
        wide_sizes: N, increasing.
        couplings: σ̂ of wide disorder, increasing.
        wide_realizations: samples, for each size.
        wide_spans: a short and a long time at which wide disorder is looked at.
        num_bootstrap: resamplings behind each interval.
        seed: of disorder, initial conditions and resampling.
    """

    weight_decay: float = 1e-3
    coupling: float = 5.0
    pure_distances: tuple[float, ...] = tuple(np.geomspace(1e-3, 1.0, 13).round(6).tolist())
    pure_agents: int = 50
    pure_realizations: int = 20
    narrow_std: float = 0.25
    narrow_sizes: tuple[int, ...] = (32, 100, 320, 1000)
    narrow_distances: tuple[float, ...] = tuple((np.arange(-6, 13) / 3).round(6).tolist())
    narrow_realizations: tuple[int, ...] = (4000, 4000, 2500, 1500)
    narrow_spans: tuple[float, ...] = (5e3, 1e4)
    wide_std: float = 2.0
    wide_sizes: tuple[int, ...] = (50, 200, 800, 3200)
    couplings: tuple[float, ...] = (0.0, *np.geomspace(0.3, 300.0, 25).round(6).tolist())
    wide_realizations: tuple[int, ...] = (1000, 1000, 500, 200)
    wide_spans: tuple[float, float] = (10.0, 1000.0)
    num_bootstrap: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name in _INCREASING:
            like = getattr(FiniteSize, name)
            value = several(name, getattr(self, name), like=like, at_least=2)
            if (np.diff(value) <= 0).any():
                raise InvalidSpec(f"{name}={value!r}: these have to increase. Write {name}={like!r}, say.")
            object.__setattr__(self, name, value)
        for kind in ("narrow", "wide"):
            name, sizes = f"{kind}_realizations", getattr(self, f"{kind}_sizes")
            counts = getattr(self, name)
            given = np.asarray(counts)
            is_number = given.dtype.kind in "iuf" and given.shape == np.shape(sizes)
            if not is_number or (given != given.round()).any() or given.min() < 2:
                raise InvalidSpec(
                    f"{name}={counts!r} with {kind}_sizes={sizes!r}: every size has a number of samples of its own, a "
                    f"whole number from two up. Write {name}={(100,) * len(sizes)!r}, say."
                )
            object.__setattr__(self, name, tuple(given.astype(int).tolist()))
        if 0.0 not in self.narrow_distances:
            raise InvalidSpec(
                f"narrow_distances={self.narrow_distances!r}: exponents are measured at the critical mean, where the "
                f"distance is 0. Add it, narrow_distances={FiniteSize.narrow_distances!r}."
            )
        if len(self.couplings) < 3 or self.couplings[0] < 0:
            raise InvalidSpec(
                f"couplings={self.couplings!r}: order sets in and ends, and each takes two couplings from 0 up. Write "
                f"couplings={FiniteSize.couplings!r}, say."
            )
        if len(self.wide_spans) != 2:
            raise InvalidSpec(
                f"wide_spans={self.wide_spans!r}: a short and a long time are held against each other. Write two, "
                f"wide_spans={FiniteSize.wide_spans!r}."
            )
        _ = self.critical_mean  # which refuses disorder that is not narrow

    @property
    def critical_mean(self) -> float:
        """μ_c of narrow disorder for N → ∞."""
        return critical_mean(std=self.narrow_std, coupling=self.coupling, weight_decay=self.weight_decay)

    @property
    def narrow_means(self) -> Floats:
        """μ of narrow disorder."""
        return self.critical_mean + np.array(self.narrow_distances) * self.narrow_std / self.narrow_sizes[-1] ** 0.5


def quick() -> FiniteSize:
    """Fewer sizes, samples and couplings: seconds."""
    return FiniteSize(
        narrow_sizes=(32, 100, 320),
        narrow_distances=tuple((np.arange(-4, 9) / 2).tolist()),
        narrow_realizations=(1000, 1000, 1000),
        wide_sizes=(50, 200),
        couplings=(0.0, *np.geomspace(0.3, 300.0, 13).round(6).tolist()),
        wide_realizations=(200, 200),
        num_bootstrap=100,
    )


def for_dataset(config: FiniteSize, dataset: str) -> FiniteSize:
    """The theory has its own, Gaussian disorder.

    Raises:
        InvalidSpec: always.
    """
    raise InvalidSpec(
        f"--dataset {dataset}: finite-size scaling compares many samples of Gaussian disorder, and uses no data. "
        f"`consilience predict transition --dataset {dataset}` solves the theory for the disorder of a data set."
    )


def sweeps(config: FiniteSize, *, data_dir: str | None = None) -> dict[str, Sweep]:
    """Nothing is simulated."""
    return {}


def stem(config: FiniteSize) -> str:
    """The name of the figure's files."""
    return "finite-size"


def computation(config: FiniteSize) -> Computation:
    """The magnetizations of each population and size, as cells that do not depend on each other."""
    cells = {}
    # The longest first, so that no thread is left with it at the end.
    for size, count in reversed(list(zip(config.wide_sizes, config.wide_realizations, strict=True))):
        cells[f"wide,N={size}"] = partial(_wide, config, size, count)
    for size, count in reversed(list(zip(config.narrow_sizes, config.narrow_realizations, strict=True))):
        cells[f"narrow,N={size}"] = partial(_narrow, config, size, count)
    cells["growth"] = partial(_growth, config)
    cells["pure"] = partial(_pure, config)
    return Computation(
        title="finite-size", subject="landau.integrate", parameters={"config": config}, cells=cells
    )  # fmt: skip


def draws(config: FiniteSize, size: int, num_realizations: int) -> tuple[Floats, Floats]:
    """Standard normal disorder and initial conditions, shape (realizations, agents): independent for each size.

    One seed for all sizes would make the agents of a small sample the first ones of a large sample.
    """
    seed = int(np.random.SeedSequence([config.seed, size]).generate_state(1)[0])
    return (
        landau.gaussian_disorder(num_realizations, size, std=1.0, seed=seed),
        landau.uniform_start(num_realizations, size, offset=0.0, seed=seed),
    )


def magnetization(
    delta: Floats,
    initial: Floats,
    *,
    coupling: float,
    weight_decay: float,
    spans: tuple[float, ...],
    rtol: float = 1e-3,
    atol: float = 1e-6,
) -> Floats:
    """⟨m⟩, averaged over the second half of each span as in the paper; shape (spans, realizations).

    The tolerances are those of SciPy's RK45 by default, the paper's solver.

    Example:
        >>> delta, initial = np.ones((1, 2)), np.array([[0.1, 0.2]])
        >>> magnetization(delta, initial, coupling=5.0, weight_decay=0.0, spans=(10.0, 40.0)).round(2).tolist()
        [[1.0], [1.0]]
    """
    times = np.unique([0.0, *(time for span in spans for time in np.linspace(span / 2, span, _RECORDS))])
    m = landau.integrate(
        delta, initial, depth=1, coupling=coupling, weight_decay=weight_decay, times=times, rtol=rtol, atol=atol
    ).mean(-1)
    return np.stack([landau.time_average(m[times <= t], times[times <= t], after=t / 2) for t in spans])


def _labelled(rows: list[Floats], control: str, values: Iterable[float], spans: tuple[float, ...]) -> xr.Dataset:
    """One row per control, each of shape (spans, realizations)."""
    table = np.stack(rows, axis=1)
    coords = {"span": list(spans), control: list(values), "seed": np.arange(table.shape[-1])}
    return xr.Dataset({"magnetization": (tuple(coords), table)}, coords)


def _pure(config: FiniteSize) -> xr.Dataset:
    initial = draws(config, config.pure_agents, config.pure_realizations)[1]
    means = config.weight_decay + np.array(config.pure_distances)
    spans = config.narrow_spans[-1:]
    rows = [
        magnetization(
            np.full_like(initial, mean), initial, coupling=config.coupling, weight_decay=config.weight_decay,
            spans=spans,
        )
        for mean in means
    ]  # fmt: skip
    return _labelled(rows, "disorder_mean", means, spans)


def _narrow(config: FiniteSize, size: int, num_realizations: int) -> xr.Dataset:
    normal, initial = draws(config, size, num_realizations)
    rows = [
        magnetization(
            mean + config.narrow_std * normal, initial, coupling=config.coupling, weight_decay=config.weight_decay,
            spans=config.narrow_spans,
        )
        for mean in config.narrow_means
    ]  # fmt: skip
    return _labelled(rows, "disorder_mean", config.narrow_means, config.narrow_spans)


def _wide(config: FiniteSize, size: int, num_realizations: int) -> xr.Dataset:
    normal, initial = draws(config, size, num_realizations)
    rows = [
        magnetization(
            config.wide_std * normal, initial, coupling=coupling, weight_decay=config.weight_decay,
            spans=config.wide_spans,
        )
        for coupling in config.couplings
    ]  # fmt: skip
    return _labelled(rows, "coupling", config.couplings, config.wide_spans)


def _growth(config: FiniteSize) -> xr.Dataset:
    """By which factor a small bias of all m(0) has grown by the first span, for wide disorder and N → ∞.

    Every agent has a mirror image with the same δ and the opposite m(0), so that without the bias M = 0 for ever, as in
    an infinite population. It stands for one as long as agents at the verge of ordering are many.
    """
    normal, initial = draws(config, _NUM_PAIRS, 1)
    delta = config.wide_std * np.concatenate([normal, normal], axis=-1)
    mirrored = np.concatenate([initial, -initial], axis=-1) + _BIAS
    factors = [
        magnetization(
            delta, mirrored, coupling=coupling, weight_decay=config.weight_decay, spans=config.wide_spans[:1],
            rtol=1e-8, atol=1e-6 * _BIAS,
        ).item() / _BIAS
        for coupling in config.couplings
    ]  # fmt: skip
    return xr.Dataset({"growth": ("coupling", factors)}, {"coupling": list(config.couplings)})
