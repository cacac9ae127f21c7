"""Work that takes time, in a thread, with a place on the page that says so and shows what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, TypeVar

import panel as pn
import panel_material_ui as pmui

from consilience.dashboard.store_texts import message, paragraph
from consilience.errors import ConsilienceError

Found = TypeVar("Found")


class Background:
    """Work for one page, in threads; what comes of it reaches the page in the page's own turn.

    To be made with the page.

    Example:
        >>> work, found = Background(), []
        >>> work.start(lambda: 1 + 1, found.append, found.append)
        >>> work.wait()
        >>> found
        [2]
    """

    def __init__(self) -> None:
        self._document = pn.state.curdoc
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], Found], done: Callable[[Found], None], failed: Callable[[str], None]) -> None:
        """Work in a new thread.

        Args:
            work: touches nothing of the page.
            done: told what came of it.
            failed: told what went wrong, in words for people.
        """

        def run() -> None:
            try:
                found = work()
            except Exception as error:
                why = in_words(error)
                self._on_the_page(lambda: failed(why))
            else:
                self._on_the_page(lambda: done(found))

        self._thread = threading.Thread(target=run, name="store browser", daemon=True)
        self._thread.start()

    def wait(self, seconds: float = 60.0) -> None:
        """Block until the work begun last is done."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _on_the_page(self, change: Callable[[], None]) -> None:
        """Make a change in the page's own turn; without a server, at once."""
        if self._document is None or self._document.session_context is None:
            change()
        else:
            self._document.add_next_tick_callback(change)


class Loading:
    """A place on the page for something that has to be loaded first.

    A place is made with the page and stays: what changes in a part of the page while the browser is still building that
    part can get lost.

    Attributes:
        view: the place.
        content: what is in it.

    Example:
        >>> place = Loading()
        >>> place.show("Adding …", lambda: 1 + 1, lambda two: [paragraph(f"It is {two}.")])
        >>> place.wait()
        >>> place.content[0].object
        '<p>It is 2.</p>'
    """

    def __init__(self) -> None:
        self.content = pmui.Column(sizing_mode="stretch_width", margin=0)
        self._bar = pmui.LinearProgress(sizing_mode="stretch_width", visible=False)
        self._doing = paragraph("")
        self.view = pmui.Column(self._bar, self._doing, self.content, sizing_mode="stretch_width", margin=0)
        self._background = Background()
        self._wanted = 0
        self._say("")

    def show(self, doing: str, load: Callable[[], Found], draw: Callable[[Found], Sequence[Any]]) -> None:
        """Load in a thread, then draw; what was being loaded before is not shown any more.

        Args:
            doing: what the page says meanwhile.
            load: touches nothing of the page. What it raises is shown.
            draw: from what was loaded to what is shown.
        """
        self.clear()
        self._say(doing)
        ticket = self._wanted
        self._background.start(
            load,
            lambda found: self._put(ticket, lambda: draw(found)),
            lambda why: self._put(ticket, lambda: [message(why)]),
        )

    def clear(self) -> None:
        """Show nothing, and forget what is being loaded."""
        self._wanted += 1
        self._say("")
        self.content[:] = []

    def wait(self, seconds: float = 60.0) -> None:
        """Block until what was asked for last is loaded."""
        self._background.wait(seconds)

    def _say(self, doing: str) -> None:
        self._doing.object = f"<p>{escape(doing)}</p>"
        self._bar.visible = self._doing.visible = bool(doing)

    def _put(self, ticket: int, shown: Callable[[], Sequence[Any]]) -> None:
        if ticket != self._wanted:
            return
        self._say("")
        try:
            self.content[:] = list(shown())
        except Exception as error:
            self.content[:] = [message(in_words(error))]


def in_words(error: Exception) -> str:
    """What the page says of an error: people look at the page, and not at the server's log.

    Example:
        >>> in_words(KeyError("loss"))
        "An error of the laboratory, and not of yours. KeyError: 'loss'"
    """
    if isinstance(error, ConsilienceError):
        return str(error)
    return f"An error of the laboratory, and not of yours. {type(error).__name__}: {error}"
