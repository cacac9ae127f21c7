"""What held when in a live run: its stages, put together from the first and the interventions that it lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consilience.simulation import Intervention, Restart, Stage


@dataclass(frozen=True, eq=False)
class Segment:
    """A stage and when it holds.

    Attributes:
        start: rounds done when it began.
        stage: what holds from then on.
        restarts: whether it began with all agents at their start.
    """

    start: int
    stage: Stage
    restarts: bool


Timeline = tuple[Segment, ...]
"""In the order of their starts, which may coincide."""


def timeline(begun: Stage, interventions: Iterable[Intervention]) -> Timeline:
    """The segment that begins in round 0, and one more from every intervention on.

    Example:
        >>> import consilience as cs
        >>> task = cs.tasks.load("digits", num_train=20, num_test=10)
        >>> experiment = cs.simulation.resolve_experiment(
        ...     cs.algorithms.DiffusiveCoupling(learning_rate=0.1), model=cs.models.mlp(depth=0), task=task,
        ...     shards=cs.tasks.by_class(task, num_agents=2), graph=cs.graphs.complete(2), num_rounds=1)
        >>> begun = cs.simulation.Stage(experiment, (experiment.algorithm,))
        >>> later = timeline(begun, [cs.simulation.SetParameter(50, "coupling", 3.0)])
        >>> [(one.start, float(one.stage.algorithms[0].coupling)) for one in later]
        [(0, 0.0), (50, 3.0)]
    """
    segments = [Segment(0, begun, restarts=True)]
    for one in interventions:
        segments.append(Segment(one.round, one.change(segments[-1].stage), isinstance(one, Restart)))
    return tuple(segments)


def pieces(segments: Timeline, start: int, stop: int) -> Sequence[tuple[Segment, int, int]]:
    """The segments that hold between two rounds, each with the first and the last round of its part.

    A segment that begins at `start` or later is in it even if its part is empty, for it may restart the agents.

    Example:
        >>> from types import SimpleNamespace as stage
        >>> three = (Segment(0, stage(), True), Segment(50, stage(), False), Segment(50, stage(), False))
        >>> [part[1:] for part in pieces(three, 20, 80)]
        [(20, 50), (50, 50), (50, 80)]
    """
    ends = [*(one.start for one in segments[1:]), stop]
    spans = [(max(one.start, start), min(end, stop)) for one, end in zip(segments, ends, strict=True)]
    return [
        (one, a, b) for one, (a, b) in zip(segments, spans, strict=True) if a < b or (a == b and one.start >= start)
    ]
