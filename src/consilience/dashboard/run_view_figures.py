"""Figures on the page, with their captions and files."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import panel_material_ui as pmui

from consilience import plots
from consilience.dashboard.store_download import File, downloads
from consilience.dashboard.store_texts import html
from consilience.reports import Drawing

DRAWING = threading.Lock()
"""Held while matplotlib draws: its settings are the process's, not the thread's."""
_SHARE = {"flex": "1 1 380px", "max-width": "560px"}  # letters are legible in between


@dataclass(frozen=True)
class Picture:
    """A figure, ready for the page.

    Attributes:
        drawing: the figure and its words.
        svg: the figure as SVG.
    """

    drawing: Drawing
    svg: str


def drawn(make: Callable[[], Sequence[Drawing]]) -> list[Picture]:
    """Figures as SVG; any thread may ask for it."""
    with DRAWING:
        return [Picture(drawing, plots.to_svg(drawing.figure)) for drawing in make()]


def gallery(pictures: Sequence[Picture]) -> pmui.FlexBox:
    """Figures side by side, as far as there is room."""
    return pmui.FlexBox(*map(_figure, pictures), gap="24px", sizing_mode="stretch_width")


def _figure(picture: Picture) -> pmui.Column:
    drawing = picture.drawing
    files = [
        File(f"{drawing.name}.svg", picture.svg.encode, "SVG", drawing.title),
        File(f"{drawing.name}.png", lambda: _png(drawing), "PNG", drawing.title),
    ]
    # An image of its own, where no identifier meets that of another figure.
    uri = f"data:image/svg+xml;base64,{base64.b64encode(picture.svg.encode()).decode()}"
    figure = html(
        f"<figure><img src='{uri}' alt='{escape(drawing.alternative)}'>"
        f"<figcaption><strong>{escape(drawing.title)}.</strong> {escape(drawing.caption)}</figcaption></figure>"
    )
    return pmui.Column(figure, downloads(files), styles=_SHARE, margin=0)


def _png(drawing: Drawing) -> bytes:
    with DRAWING:
        return plots.to_png(drawing.figure)
