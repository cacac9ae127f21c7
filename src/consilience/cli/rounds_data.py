"""What `consilience predict rounds --json` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

    from consilience.experiments.deployment import Deployment
    from consilience.experiments.rounds_prediction import RoundsPrediction


def as_data(deployment: Deployment, prediction: RoundsPrediction, candidates: xr.Dataset | None) -> dict[str, Any]:
    """The prediction as plain data."""
    from consilience.experiments.candidates import recommend

    agents, checked = prediction.agents, prediction.stability
    found: dict[str, Any] = {
        **_setting(deployment, prediction),
        "outcome": dict(agents.attrs),
        "slowest": prediction.slowest,
        "agents": [
            {
                "agent": agent,
                "samples_by_class": deployment.classes[agent].tolist(),
                **{name: agents[name].values[agent].item() for name in agents.data_vars},
            }
            for agent in range(len(deployment.shards))
        ],
        "stability": {
            "largest_learning_rate": prediction.largest_learning_rate,
            "spectral_radius": checked.spectral_radius,
            "is_stable": checked.is_stable,
            "reasons": list(checked.reasons),
        },
        "rounds_of_full_averaging": prediction.rounds_of_full_averaging,
        "modes": None if prediction.modes is None else _records(prediction.modes, "mode"),
    }
    if candidates is not None:
        choice = recommend(candidates)
        found["candidates"] = _records(candidates, "candidate")
        found["recommendation"] = None if choice is None else vars(choice)
    return found


def _setting(deployment: Deployment, prediction: RoundsPrediction) -> dict[str, Any]:
    d = deployment
    return {
        "task": d.task.name,
        "partition": d.shards.name,
        "num_agents": len(d.shards),
        "num_samples": d.linearization.sizes.tolist(),
        "num_test": d.task.num_test,
        "model": getattr(d.model, "name", repr(d.model)),
        "num_parameters": d.num_parameters,
        "seed": d.seed,
        "algorithm": d.algorithm,
        "graph": d.graph.name,
        "mixing": prediction.mixing.name,
        "mixing_weights": prediction.mixing.weights.tolist(),
        "coupling": d.coupling,
        "learning_rate": prediction.learning_rate,
        "weight_decay": d.weight_decay,
        "quantity": prediction.quantity,
        "target": prediction.target,
    }


def _records(table: xr.Dataset, dimension: str) -> list[dict[str, Any]]:
    """One dictionary per entry of `dimension`; complex numbers as pairs."""
    variables: dict[str, np.ndarray] = {
        str(name): variable.transpose(dimension, ...).values
        for name, variable in table.variables.items()
        if dimension in variable.dims
    }
    for name, values in variables.items():
        if np.iscomplexobj(values):
            variables[name] = np.stack([np.real(values), np.imag(values)], axis=-1)
    return [{name: values[k].tolist() for name, values in variables.items()} for k in range(table.sizes[dimension])]
