"""Several runs next to each other: what they are, their numbers in one table, their curves in the same axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consilience.axes import ROUND
from consilience.dashboard.run_view_figures import DRAWING, Picture, drawn, gallery
from consilience.dashboard.store_download import File, downloads
from consilience.dashboard.store_loading import Loading
from consilience.dashboard.store_texts import heading, message, table
from consilience.errors import ConsilienceError
from consilience.reports import Replicas, Summary, Table, comparison_table, overlaid, page, side_by_side, summary
from consilience.store import Run, Store


@dataclass(frozen=True)
class Compared:
    """What of several runs is shown together.

    Attributes:
        about: their facts, a column for each run.
        numbers: what they measured; `None` if that is nothing in common.
        pictures: their curves.
        obstacles: why some of them cannot be compared, a sentence each.
        runs: those that could be read.
    """

    about: Table
    numbers: Table | None
    pictures: list[Picture]
    obstacles: list[str]
    runs: list[Run]

    @classmethod
    def of(cls, store: Store, names: Sequence[str]) -> Compared:
        """Load runs, and lay them over each other.

        Args:
            store: where they are.
            names: beginnings of their ids. Those that cannot be read are among the obstacles.
        """
        found: dict[str, Summary] = {}
        replicas: dict[str, Replicas] = {}
        obstacles: list[str] = []
        runs: list[Run] = []
        for name in names:
            try:
                run = store.find(name)
                about = summary(run)
                label = _label(about, found.values())
                found[label] = about
                runs.append(run)
                if about.kind == "sweep":
                    replicas[label] = Replicas.load(run)
            except ConsilienceError as error:
                obstacles.append(str(error))
        return cls(
            about=_side_by_side(found),
            numbers=comparison_table(replicas) if len(replicas) > 1 else None,
            pictures=drawn(lambda: overlaid(replicas)) if len(replicas) > 1 else [],
            obstacles=obstacles + incomparable(found, replicas),
            runs=runs,
        )

    def as_page(self) -> list[Any]:
        """The parts of the page that show them."""
        alerts = [message(sentence, "info", "Not comparable") for sentence in self.obstacles]
        curves = [heading("Figures", 3), gallery(self.pictures)] if self.pictures else []
        numbers = [] if self.numbers is None else [heading("Numbers", 3), table(self.numbers)]
        about = [heading("What they are", 3), table(self.about)] if self.about.rows else []
        report = File("comparison.html", self.report, "Report", "one page, to send and to keep")
        files = [downloads([report])] if self.runs else []
        return [heading("Comparison"), *files, *alerts, *curves, *numbers, *about]

    def report(self) -> bytes:
        """The report of all of them."""
        with DRAWING:
            return page(self.runs).encode()


def incomparable(found: Mapping[str, Summary], replicas: Mapping[str, Replicas]) -> list[str]:
    """Why some runs are not in the same axes as the others, a sentence each.

    Args:
        found: label → what a run is.
        replicas: label → the results of those that are sweeps and have any.

    Example:
        >>> incomparable({"Landau": Summary("c0ffee", "computation")}, {})
        ['Landau is a computation: it has no agents whose observables could be laid over those of a sweep.']
    """
    sentences = [
        f"{label} is a computation: it has no agents whose observables could be laid over those of a sweep."
        for label, about in found.items()
        if about.kind == "computation"
    ]
    first = next((label for label, run in replicas.items() if run.along is not None), next(iter(replicas), ""))
    for label, run in replicas.items() if len(replicas) > 1 else ():
        along = replicas[first].along
        if run.along != along:
            sentences.append(_without_common_axis(label, run, first, replicas[first]))
        elif along is None and ROUND not in run.results.dims:
            sentences.append(f"{label} sweeps no parameter with numbers and kept no rounds, and so has no curve.")
        elif not set(run.observables) & set(replicas[first].observables):
            measured = ", ".join(replicas[first].observables)
            sentences.append(
                f"{label} measured {', '.join(run.observables)}, and {first} {measured}: there is nothing in common. "
                "Run one of them again with the other's observables."
            )
    return sentences


def _without_common_axis(label: str, run: Replicas, first: str, other: Replicas) -> str:
    own = "no parameter with numbers" if run.along is None else run.along
    return (
        f"{label} sweeps {own}, and {first} {other.along}: there is no axis that both have. Compare runs that "
        "sweep the same parameter."
    )


def _label(about: Summary, others: Any) -> str:
    return about.title if all(about.title != other.title for other in others) else f"{about.title} ({about.short_id})"


def _side_by_side(found: Mapping[str, Summary]) -> Table:
    rows = side_by_side(list(found.values())) if found else []
    marked = [[f"{name} ≠" if differs else name, *values] for name, values, differs in rows]
    return Table("≠ marks what is different", ["", *found], marked)


class ComparisonView:
    """A place on the page for a comparison.

    Attributes:
        view: the place.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._place = Loading()
        self.view = self._place.view

    def open(self, names: Sequence[str]) -> None:
        """Show these runs next to each other."""
        self._place.show(f"Loading {len(names)} runs …", lambda: Compared.of(self._store, names), Compared.as_page)

    def close(self) -> None:
        """Show nothing."""
        self._place.clear()

    def wait(self) -> None:
        """Block until the comparison is there."""
        self._place.wait()
