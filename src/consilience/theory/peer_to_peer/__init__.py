"""Peer-to-peer learning of wide networks, predicted before it runs (paper 003).

Agents with private data train the same wide network and average over a graph. Near its initialisation such a network is
linear in its parameters, and training is linear algebra with its neural tangent kernel.

network = peer_to_peer.linearize(model, params, inputs, targets, test_inputs=..., test_targets=...)     # once
peer_to_peer.trajectory(network, graphs.metropolis(graph), learning_rate=0.5, num_rounds=400)           # any graph
peer_to_peer.stability(network, mixing, learning_rate=0.5)          # the largest learning rate, and reasons
peer_to_peer.rounds_to_target(network, mixings, learning_rates=0.5, target=0.1)                         # who is last
"""

from __future__ import annotations

from consilience.theory.peer_to_peer.fixed_point import fixed_point
from consilience.theory.peer_to_peer.flow import Flow, flow, state_transition
from consilience.theory.peer_to_peer.kernels.infinite_width import InfiniteWidthKernel, infinite_width_kernel
from consilience.theory.peer_to_peer.kernels.kernel import kernel
from consilience.theory.peer_to_peer.linearization import Linearization, linearize
from consilience.theory.peer_to_peer.noise.mean_square import largest_minibatch_rate, noise_gain, stationary_moments
from consilience.theory.peer_to_peer.noise.moments import minibatch_moments
from consilience.theory.peer_to_peer.parameters import parameters
from consilience.theory.peer_to_peer.predict import predict, trajectory
from consilience.theory.peer_to_peer.rounds_to_target import rounds_to_target
from consilience.theory.peer_to_peer.spectra.minimality import Minimality, minimality
from consilience.theory.peer_to_peer.spectra.modes import modes
from consilience.theory.peer_to_peer.spectra.stability import Stability, stability

__all__ = [
    "Flow",
    "InfiniteWidthKernel",
    "Linearization",
    "Minimality",
    "Stability",
    "fixed_point",
    "flow",
    "infinite_width_kernel",
    "kernel",
    "largest_minibatch_rate",
    "linearize",
    "minibatch_moments",
    "minimality",
    "modes",
    "noise_gain",
    "parameters",
    "predict",
    "rounds_to_target",
    "stability",
    "state_transition",
    "stationary_moments",
    "trajectory",
]
