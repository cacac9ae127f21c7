"""Peer-to-peer learning of wide networks, predicted before it runs (paper 003)."""

from __future__ import annotations

from consilience.theory.peer_to_peer.infinite_width import InfiniteWidthKernel, infinite_width_kernel
from consilience.theory.peer_to_peer.kernel import kernel
from consilience.theory.peer_to_peer.linearization import Linearization, linearize
from consilience.theory.peer_to_peer.predict import predict, trajectory

__all__ = [
    "InfiniteWidthKernel",
    "Linearization",
    "infinite_width_kernel",
    "kernel",
    "linearize",
    "predict",
    "trajectory",
]
