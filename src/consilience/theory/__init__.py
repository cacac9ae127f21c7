"""What is predicted: theories of collective learning, independent of the simulator that they are held against."""

from __future__ import annotations

from consilience.theory import landau, peer_to_peer, runtime_model

__all__ = ["landau", "peer_to_peer", "runtime_model"]
