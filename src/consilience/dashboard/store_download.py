"""A button that makes a file when it is asked for."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any

import panel_material_ui as pmui

from consilience.errors import ConsilienceError


class Download(pmui.FileDownload):
    """A button that makes a file in a thread, then gives it to the browser.

    Args:
        filename: of the file.
        make: its content; runs in a thread.
        on_refusal: told why there is no file.
        **look: of the button: `label`, `description`, and so on. The description begins with the label, for it is what
            the button is called by those who cannot see it.

    Example:
        >>> Download("numbers.csv", lambda: b"1,2", label="CSV").filename
        'numbers.csv'
    """

    def __init__(
        self,
        filename: str,
        make: Callable[[], bytes],
        *,
        on_refusal: Callable[[str], None] = lambda text: None,
        **look: Any,
    ) -> None:
        async def answer() -> io.BytesIO | None:
            self.loading = True
            try:
                return io.BytesIO(await asyncio.to_thread(make))
            except ConsilienceError as refusal:
                on_refusal(str(refusal))
                return None
            finally:
                self.loading = False

        super().__init__(callback=answer, filename=filename, size="small", **look)
        self.variant = "outlined"  # as an argument it would be taken for Panel's old one

    def _sync_data(self, fileobj: io.BytesIO | None) -> None:
        if fileobj is not None:
            super()._sync_data(fileobj)
