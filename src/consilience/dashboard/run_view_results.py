"""The results of a run on the page: what went wrong, figures, numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consilience.dashboard.run_view_figures import Picture, drawn, gallery
from consilience.dashboard.store_texts import heading, message, paragraph, table
from consilience.errors import StoreError
from consilience.reports import Replicas, Table, cells_table, computation_figures, failures, figures, observables_table
from consilience.store import Run


@dataclass(frozen=True)
class Results:
    """What of a run's results is shown; the results themselves are not kept.

    Attributes:
        pictures: its figures.
        numbers: its table; `None` if there is none.
        warnings: a sentence each.
    """

    pictures: list[Picture]
    numbers: Table | None
    warnings: list[str]

    @classmethod
    def of(cls, run: Run) -> Results:
        """Load a run, and draw it.

        Raises:
            StoreError: the store cannot be read.
        """
        if "computation" in run.spec:
            cells = {name: cell for name in run.spec["cells"] if (cell := run.load(name)) is not None}
            return cls(drawn(lambda: computation_figures(cells)), cells_table(cells), [])
        try:
            replicas = Replicas.load(run)
        except StoreError as error:  # no block is finished, or none can be read
            return cls([], None, [str(error)])
        return cls(drawn(lambda: figures(replicas)), observables_table(replicas), failures(replicas))

    def as_page(self) -> list[Any]:
        """The parts of the page that show them."""
        alerts = [message(sentence, "warning") for sentence in self.warnings]
        nothing = paragraph("Nothing of this run is a curve against a swept parameter, rounds or time.")
        pictures = gallery(self.pictures) if self.pictures else nothing
        numbers = [] if self.numbers is None else [heading("Numbers", 3), table(self.numbers)]
        return [*alerts, heading("Figures", 3), pictures, *numbers]
