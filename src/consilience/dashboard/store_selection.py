"""What of the store is shown, in the address of the page: `?run=…&compare=…,…&q=…&kind=…&state=…&order=…`."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode

import param
from panel.io.location import Location

KINDS = ("all", "sweep", "computation", "damaged")
STATES = ("all", "finished", "unfinished")
ORDERS = ("newest", "title", "largest")
_CHOICES = {"kind": KINDS, "state": STATES, "order": ORDERS}
"""Name → what it may be; at first the first."""
MOST_COMPARED = 6
"""Runs in one comparison."""
_LONGEST = 80  # an id has 64 digits


class Selection(param.Parameterized):
    """What is shown: one run, or a comparison, or the table of runs with its filters.

    Example:
        >>> selection = Selection()
        >>> selection.read("?run=c0ffee&q=digits&kind=nonsense")
        >>> selection.run, selection.q, selection.kind
        ('c0ffee', 'digits', 'all')
        >>> selection.search()
        '?run=c0ffee&q=digits'
    """

    run = param.String(doc="The beginning of the id of the run that is open.")
    compare = param.List(item_type=str, doc="Beginnings of ids of runs that are compared.")
    q = param.String(doc="Words that a run must have.")
    kind = param.Selector(objects=list(KINDS), doc="Simulations, theory and analyses, or what cannot be read.")
    state = param.Selector(objects=list(STATES), doc="Whether all blocks are there.")
    order = param.Selector(objects=list(ORDERS))

    def read(self, search: str) -> None:
        """Take over what the query of an address says; what it says wrongly, or not at all, is as at the beginning."""
        query = parse_qs(search.removeprefix("?"))
        # Text as it is written: ids such as 12 and 1e5 are no numbers.
        given = {name: values[-1][:_LONGEST] for name, values in query.items()}
        compared = query.get("compare", [""])[-1].split(",")
        self.param.update(
            run=given.get("run", ""),
            compare=[one[:_LONGEST] for one in compared if one][:MOST_COMPARED],
            q=given.get("q", ""),
            **{name: given[name] if given.get(name) in known else known[0] for name, known in _CHOICES.items()},
        )

    def search(self, others: str = "") -> str:
        """The query of the address that shows this.

        Args:
            others: a query whose other names are kept.
        """
        kept = {name: values[-1] for name, values in parse_qs(others.removeprefix("?")).items()}
        own = {"run": self.run, "compare": ",".join(self.compare), "q": self.q}
        own |= {name: value for name, known in _CHOICES.items() if (value := getattr(self, name)) != known[0]}
        query = {name: value for name, value in kept.items() if name not in self.param} | {
            name: value for name, value in own.items() if value
        }
        return f"?{urlencode(query, safe=',')}" if query else ""

    def follow(self, location: Location) -> None:
        """Be what the address says, and keep the address up with every change."""
        self.read(location.search)
        location.param.watch(lambda event: self.read(event.new), "search")
        self.param.watch(lambda *_: setattr(location, "search", self.search(location.search)), list(self.param)[1:])
