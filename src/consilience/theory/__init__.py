"""What is predicted: theories of collective learning, independent of the simulator that they are held against."""

from __future__ import annotations

from consilience.theory import landau

__all__ = ["landau"]
