"""What all figures of the page share: quiet frames, and colours that everybody can tell apart."""

from __future__ import annotations

from typing import Any

from bokeh.palettes import Cividis256
from bokeh.plotting import figure

CATEGORIES = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442"),  # Okabe and Ito's
    *("#8c8c8c", "#5c4b99", "#a6761d"),
)
"""Colours of classes and agents, in turn; they always come with a number beside them."""
SEQUENTIAL = Cividis256
"""Perceptually uniform, and the same to people who do not see red and green apart."""
MEAN = "#d55e00"
MARK = "#8c8c8c"


def frame(*, title: str, x: str, y: str, height: int = 230, **options: Any) -> Any:
    """An empty figure that is as wide as its place.

    Args:
        title: what is shown.
        x: label of the horizontal axis, with symbol and unit.
        y: label of the vertical axis.
        height: in pixels.
        **options: of Bokeh's `figure`.

    Example:
        >>> frame(title="accuracy", x="round", y="A").xaxis.axis_label
        'round'
    """
    made: Any = figure(
        **{"tools": "pan,wheel_zoom,box_zoom,save,reset", **options},
        title=title,
        x_axis_label=x,
        y_axis_label=y,
        height=height,
        min_width=200,
        sizing_mode="stretch_width",
        toolbar_location="above",
        output_backend="canvas",
    )
    made.toolbar.logo = None
    made.toolbar.autohide = True
    made.title.text_font_size = "12px"
    for axis in (made.xaxis, made.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "12px"
    made.grid.grid_line_alpha = 0.4
    return made


def colour_of(number: int) -> str:
    """The colour of a class or an agent.

    Example:
        >>> colour_of(0) == colour_of(10)
        True
    """
    return CATEGORIES[number % len(CATEGORIES)]


def readable_on(colour: str) -> str:
    """Black or white text, whichever contrasts more with a background (relative luminance of WCAG 2).

    Args:
        colour: of the background, "#rrggbb".

    Example:
        >>> readable_on("#f0e442"), readable_on("#0072b2")
        ('#000000', '#ffffff')
    """
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"
