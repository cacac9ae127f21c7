"""What every page has: title, navigation, theme, and where its own content goes."""

from __future__ import annotations

from typing import Any

import panel_material_ui as pmui

PAGES = {"live": "Live experiment", "store": "Stored runs"}
"""Address → what the navigation calls it."""


def page(name: str, main: list[Any], sidebar: list[Any]) -> Any:
    """A whole page.

    Args:
        name: one of `PAGES`.
        main: what is shown.
        sidebar: what is chosen; a drawer on small screens.

    Example:
        >>> page("live", ["hello"], []).title
        'consilience'
    """
    links = [
        pmui.Button(
            label=label, href=f"/{address}", target="_self", size="small",
            variant="contained" if address == name else "outlined", color="light", margin=(4, 4),
        )
        for address, label in PAGES.items()
    ]  # fmt: skip
    return pmui.Page(
        title="consilience",
        header=[pmui.Row(*links, margin=0)],
        main=main,
        sidebar=sidebar,
        sidebar_width=320,
    )
