"""Buttons that make files when they are asked for."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import panel_material_ui as pmui
import param

from consilience.dashboard.store_loading import Background
from consilience.dashboard.store_texts import message


@dataclass(frozen=True)
class File:
    """A file that can be made.

    Attributes:
        name: with its ending.
        make: its content; called in a thread.
        label: of its button.
        description: what it is, for the tooltip; and, after the label, what the button is called by those who cannot
            see it.
    """

    name: str
    make: Callable[[], bytes]
    label: str
    description: str


class Download(pmui.FileDownload):
    """A button that makes a file in a thread, then gives it to the browser.

    Args:
        file: which.
        on_failure: told why there is none.

    Example:
        >>> Download(File("numbers.csv", lambda: b"1,2", "CSV", "the numbers"), print).description
        'CSV: the numbers'
    """

    def __init__(self, file: File, on_failure: Callable[[str], None]) -> None:
        self.background = Background()
        self._make, self._on_failure = file.make, on_failure
        description = f"{file.label}: {file.description}"
        super().__init__(
            callback=file.make, filename=file.name, label=file.label, description=description, size="small"
        )
        self.variant = "outlined"  # as an argument it would be taken for Panel's old one

    @param.depends("_clicks", watch=True)
    def _transfer(self) -> None:
        self.background.start(self._make, lambda content: self._sync_data(io.BytesIO(content)), self._on_failure)


def downloads(files: Sequence[File], *before: Any) -> pmui.Column:
    """Buttons in a row, and below them what could not be made.

    Args:
        files: one button each.
        before: what stands in the row before them.
    """
    failed = pmui.Column(sizing_mode="stretch_width", margin=0)

    def tell(why: str) -> None:
        failed[:] = [message(why)]

    buttons = [Download(file, tell) for file in files]
    row = pmui.FlexBox(*before, *buttons, gap="8px", align_items="center")
    return pmui.Column(row, failed, sizing_mode="stretch_width", margin=0)
