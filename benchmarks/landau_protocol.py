"""What `landau.py` measures: the paper's protocol, how much of it, and a small size for trying it out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RTOL, ATOL = 1e-3, 1e-6  # SciPy's defaults, hence the paper's
SPAN = 10.0
TIMES = np.array([0.0, *np.linspace(SPAN / 2, SPAN, 11)])  # where `landau.sweep` looks at the state
WEIGHT_DECAY = 1e-3
PARTS = [(depth, protocol) for depth in (2, 1, 0) for protocol in ("adiabatic_up", "quench")]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        num_agents: N.
        num_realizations: of the figure.
        num_couplings: of the figure.
        num_sliced: couplings that SciPy integrates.
        per_repeat: realizations that SciPy integrates at each of them, others in each repeat.
        repeats: measurements of each side, alternating.
        depths: at which methods are compared.
        single: couplings at which methods are compared.
        implicit: realizations that diffrax's implicit methods integrate.
        counts: numbers of agents and of realizations whose cost is measured.
    """

    num_agents: int = 200
    num_realizations: int = 200
    num_couplings: int = 60
    num_sliced: int = 13
    per_repeat: int = 4
    repeats: int = 5
    depths: tuple[int, ...] = (1, 2)
    single: tuple[float, ...] = (0.0, 10.0, 316.0)
    implicit: int = 2
    counts: tuple[int, ...] = (50, 100, 200, 400)

    @property
    def couplings(self) -> np.ndarray:
        """0, and the rest from 10⁻² to 10^2.5."""
        return np.array([0.0, *np.geomspace(1e-2, 10**2.5, self.num_couplings - 1)])

    @property
    def sliced(self) -> np.ndarray:
        """Which of the couplings SciPy integrates, from the first to the last."""
        return np.linspace(0, self.num_couplings - 1, self.num_sliced).round().astype(int)

    def members(self, place: int) -> np.ndarray:
        """Which realizations SciPy integrates at the coupling sliced[place]: others at each."""
        count = self.repeats * self.per_repeat
        return (place * count + np.arange(count)) % self.num_realizations

    def ensemble(self) -> tuple[np.ndarray, np.ndarray]:
        """δ and m(0) of all realizations."""
        from consilience.theory import landau

        shape = self.num_realizations, self.num_agents
        return landau.gaussian_disorder(*shape), landau.uniform_start(*shape)


QUICK = Size(
    num_agents=20, num_realizations=20, num_couplings=12, num_sliced=4, per_repeat=2, repeats=2, depths=(2,),
    single=(0.0, 100.0), implicit=2, counts=(10, 20),
)  # fmt: skip
"""A smoke test: says that everything runs, and nothing about speed."""
