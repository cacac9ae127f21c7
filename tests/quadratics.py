"""`small_problem` as matrices: ∇L_i(θ) = H_i θ − p_i, with the parameters of an agent as one matrix θ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from registries import SmallProblem, final_params


@dataclass(frozen=True, eq=False)
class Quadratics:
    """Losses ½ tr θᵀ H_i θ − tr p_iᵀ θ, up to constants. Weight decay is part of H_i."""

    hessians: np.ndarray
    """(agents, d, d)"""
    pulls: np.ndarray
    """(agents, d, outputs)"""
    start: np.ndarray
    """θ_i before the first round, (agents, d, outputs)."""
    sizes: np.ndarray
    """Samples of each agent."""

    @property
    def num_agents(self) -> int:
        return len(self.start)

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """The gradients of all agents, each at its own parameters."""
        return self.hessians @ theta - self.pulls

    def minimum(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Where Σ_i weights_i ∇L_i vanishes, (d, outputs); equal weights by default."""
        weights = np.ones(self.num_agents) if weights is None else weights
        return np.linalg.solve(np.tensordot(weights, self.hessians, 1), np.tensordot(weights, self.pulls, 1))


def stacked(params: dict[str, np.ndarray]) -> np.ndarray:
    """Weights over bias."""
    return np.concatenate([params["weight"], np.asarray(params["bias"])[..., None, :]], axis=-2)


def as_quadratics(problem: SmallProblem, *, weight_decay: float = 0.0) -> Quadratics:
    """The losses of the agents on their whole shards."""
    task, hessians, pulls = problem.task, [], []
    for shard in problem.shards:
        inputs = np.c_[task.train_inputs[shard], np.ones(len(shard))]
        hessians.append(inputs.T @ inputs / len(shard) + 2 * weight_decay * np.eye(inputs.shape[1]))
        pulls.append(inputs.T @ task.train_labels[shard] / len(shard))
    sizes = np.array([len(shard) for shard in problem.shards])
    return Quadratics(np.array(hessians), np.array(pulls), stacked(problem.initial_params), sizes)


def ends(run: xr.Dataset) -> np.ndarray:
    """The final parameters of all agents, (agents, d, outputs)."""
    return stacked({name.removeprefix("params/"): leaf for name, leaf in final_params(run).items()})


def mixed(weights: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Σ_j w_ij θ_j for all i."""
    return np.einsum("ij,j...->i...", weights, theta)


def states_of(states: list[Any], name: str) -> np.ndarray:
    """One part of all agents' states, as matrices."""
    leaves = [{key: np.asarray(leaf) for key, leaf in state[name].items()} for state in states]
    return np.stack([stacked(one) for one in leaves])
