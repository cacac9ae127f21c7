"""The theory beside a live run: potentials, predictions against the coupling, phase diagrams, and wide networks."""

from __future__ import annotations

from consilience.dashboard.theory.view import TheoryView

__all__ = ["TheoryView"]
