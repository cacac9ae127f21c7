"""What a live session has recorded, as a labelled data set like that of any run."""

from __future__ import annotations

import xarray as xr

from consilience.axes import ROUND
from consilience.dashboard.session import Snapshot
from consilience.errors import InvalidSpec
from consilience.observables import OBSERVABLES


def as_dataset(snapshot: Snapshot) -> xr.Dataset:
    """The curves of a session: the same variables, with the same dimensions, as `simulate` gives.

    Long sessions keep every second, every fourth, ... record; the rounds say which.

    Raises:
        InvalidSpec: if nothing has been recorded yet.

    Example:
        >>> from consilience.dashboard.session import Session
        >>> session = Session({"model": {"family": "mlp", "depth": 0}}, record_every=5)
        >>> session.run(until=10)
        >>> dataset = as_dataset(session.wait(lambda snapshot: snapshot.round == 10))
        >>> session.close()
        >>> dataset.accuracy.dims, dataset["round"].values.tolist()
        (('round', 'agent'), [0, 5, 10])
    """
    if not len(snapshot.rounds):
        raise InvalidSpec("The session has recorded nothing yet. Wait until it is prepared.")
    variables = {
        name: ((ROUND, *OBSERVABLES[name].dims), values, {"long_name": OBSERVABLES[name].description})
        for name, values in snapshot.values.items()
    }
    variables["traffic"] = ((ROUND,), snapshot.traffic, {"long_name": "sent by all agents so far", "units": "bit"})
    marks = [f"{round}: {text}" for round, text in snapshot.marks]
    return xr.Dataset(variables, {ROUND: snapshot.rounds}, {"interventions": "\n".join(marks)})
