"""Peer-to-peer learning of wide networks, predicted and trained: the figures of paper 003, and ten classes.

Agents with private data exchange parameters over a graph. What each of them will know after every round is predicted
from the network's tangent kernel at the common initialisation, and held against training of the same network from the
same initialisation.
"""

from __future__ import annotations

from consilience.recipes.peer_to_peer.analysis import LOSSES, Result, Slope, common_start, run, slope
from consilience.recipes.peer_to_peer.figure import draw
from consilience.recipes.peer_to_peer.protocol import (
    ALGORITHMS,
    GRAPHS,
    SETTINGS,
    Case,
    PeerToPeer,
    Setting,
    for_dataset,
    full,
    quick,
    shard_losses,
    stem,
    sweeps,
    task_and_shards,
    two_digits_each,
)
from consilience.recipes.peer_to_peer.report import as_data, remarks, rows, tables

__all__ = [
    "ALGORITHMS",
    "GRAPHS",
    "LOSSES",
    "SETTINGS",
    "Case",
    "PeerToPeer",
    "Result",
    "Setting",
    "Slope",
    "as_data",
    "common_start",
    "draw",
    "for_dataset",
    "full",
    "quick",
    "remarks",
    "rows",
    "run",
    "shard_losses",
    "slope",
    "stem",
    "sweeps",
    "tables",
    "task_and_shards",
    "two_digits_each",
]
