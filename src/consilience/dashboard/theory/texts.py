"""The sentence below each figure: what is to be seen, what of it is theory, and what is measured."""

from __future__ import annotations

import numpy as np

from consilience.dashboard.theory import predictions
from consilience.dashboard.theory.conditions import Conditions, Floats
from consilience.dashboard.theory.landscape import Path
from consilience.dashboard.theory.predictions import Curve

WAITING = "Solving the theory …"
POTENTIALS = (
    "Theory alone. A solid line is the potential of one agent, made of its own data (dotted) and of the pull of the "
    "others; its numbered particle rolls downhill in it. Particles know the data, σ and γ, and nothing of the networks."
)
ORDER = (
    "Solid: the theory's particles, from starts of its own and through the same interventions (dashed lines). Dotted, "
    "right axis: ⟨m⟩ measured on the networks, the mean of their parameters layer by layer. The theory absorbs the "
    "widths of layers, so compare when and whether they order, not how far."
)
TRANSITION_ORDER = (
    "Blue: the theory at every σ, averaged over the second half of {rounds:,} rounds; band: 5–95 % of {starts} starts; "
    "diamond: the particles now. Orange, right axis: |⟨m⟩| measured on the networks, on a scale of its own. {now}"
)
TRANSITION_LOSS = (
    "Blue: the theory’s loss on everybody’s data, 0 for an agent that predicts nothing, in squared targets, Eq. (5). "
    "Orange, right axis: the networks’ measured test loss ({loss}). Compare where they fall, not their values. On real "
    "data this theory is known to be right about whose data are learned first, and not about the σ at which learning "
    "becomes collective."
)
PHASES = {
    "weight_decay": (
        "Theory alone: |⟨m⟩| after {rounds:,} rounds for the disorder of these agents’ data, yellow where they order. "
        "The diamond is this run, at its σ and γ; beyond the dashed line, the stability limit, networks diverge."
    ),
    "disorder_std": (
        "Theory alone: |⟨m⟩| after {rounds:,} rounds for Gaussian disorder with the mean of these agents’ δ and s = 1. "
        "The diamond is this run, at its σ and at the standard deviation of its own δ, which are not Gaussian."
    ),
}
WIDE = (
    "Lines: the loss of every agent as the theory of wide networks predicts it from their common start, ahead of the "
    "run (thin vertical line: now). Dots: measured test loss. Theory and measurement have the same units here, and "
    "nothing is fitted; what they differ by falls with the width.{agreement}"
)
WIDE_ACCURACY = "The same for accuracy: lines are predicted, dots are measured on the test set."


def now(curve: Curve, here: Conditions) -> str:
    """What the theory predicts at the chosen σ, between two points of the curve."""
    order, loss = (
        [float(np.interp(here.coupling, curve.couplings, one)) for one in _three(values)]
        for values in (curve.order, curve.loss)
    )
    return (
        f"At σ = {here.coupling:.4g} the theory says |⟨m⟩| = {order[0]:.2f} ({order[1]:.2f} to {order[2]:.2f}) and "
        f"⟨L̂⟩ = {loss[0]:.2f}."
    ).replace("-", "−")


def transition(curve: Curve, here: Conditions) -> str:
    """Below the order parameter against σ."""
    return TRANSITION_ORDER.format(rounds=predictions.ROUNDS, starts=curve.order.shape[1], now=now(curve, here))


def potentials(path: Path) -> str:
    """Below the potentials."""
    here = path.here
    t, frozen = here.time(int(path.rounds[-1])), sorted(here.absent)
    words = f"{POTENTIALS} Now: D = {here.depth}, σ = {here.coupling:.4g}, η = {here.learning_rate:.3g}, t = {t:.3g}."
    if here.depth % 2:
        words += " At odd D a state and its mirror image are equally good: the start decides the sign."
    return words + (f" Frozen: {', '.join(map(str, frozen))}." if frozen else "")


def agreement(predicted: Floats, measured: Floats) -> str:
    """How far a prediction is off, in words."""
    worst = float(np.max(np.abs(predicted - measured) / np.abs(measured)))
    return f" Now the worst of the agents is off by {worst:.1%}."


def _three(values: Floats) -> tuple[Floats, Floats, Floats]:
    low, high = np.percentile(values, (5, 95), axis=1)
    return values.mean(axis=1), low, high
