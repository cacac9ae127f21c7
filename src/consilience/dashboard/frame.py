"""What every page has: title, navigation, theme, and where its own content goes."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
from panel.custom import JSComponent
from panel.util.parameters import edit_readonly

PAGES = {"live": ("Live experiment", "science"), "store": ("Stored runs", "storage")}
"""Address → what the navigation calls it, and its icon on small screens."""


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
    links = {are_words: _links(name, are_words=are_words) for are_words in (True, False)}
    wide, narrow = (pmui.Row(*each.values(), margin=0) for each in links.values())
    switch = pmui.BreakpointSwitcher(breakpoint="md", large=wide, small=narrow)
    made = pmui.Page(
        title="consilience",
        header=[switch, BackButton(), KeysOpenSelects()],
        main=main,
        sidebar=sidebar,
        sidebar_width=320,
        busy_indicator=None,
    )
    # The page would follow whether the server is busy, and for that look through all of its models twice per event.
    with edit_readonly(made):
        made.busy = False

    def follow(event: Any) -> None:
        def show() -> None:
            made.sidebar_open = event.new is wide

        # A drawer would cover a small screen. What is changed before the browser has the page would be lost.
        pn.state.onload(show)

    def keep_theme(event: Any) -> None:
        theme = "dark" if event.new else "default"  # Panel's words, which it reads from the address
        if pn.state.location is not None:
            pn.state.location.update_query(theme=theme)  # pyright: ignore[reportArgumentType]
        for each in links.values():
            for address, link in each.items():
                link.href = f"/{address}?theme={theme}"

    switch.param.watch(follow, "current")
    made.param.watch(keep_theme, "dark_theme")
    return made


def _links(name: str, *, are_words: bool) -> dict[str, Any]:
    """Address → link to that page, which opens in the theme of this one."""
    return {
        address: pmui.Button(
            label=label if are_words else "", icon=None if are_words else icon, description=label,
            href=f"/{address}?theme={pn.config.theme}", target="_self", size="small", color="light", margin=(4, 4),
            variant="contained" if address == name else "outlined",
        )
        for address, (label, icon) in PAGES.items()
    }  # fmt: skip


class BackButton(JSComponent):
    """Makes the browser's back and forward buttons work: Panel writes to the browser's history and never reads it."""

    _esm = """
    export function render() {
      let fragment = window.location.hash
      window.addEventListener("popstate", () => {
        if (window.location.hash === fragment) window.location.reload()
        fragment = window.location.hash
      })
    }
    """


class KeysOpenSelects(JSComponent):
    """Makes Enter, space and the arrows open a closed list of choices, which the component opens by a click only."""

    _esm = """
    // A list that opens while the space bar is down takes its release for a choice.
    const OPENS = {keydown: ["Enter", "ArrowDown", "ArrowUp"], keyup: [" "]}
    const KEYS = Object.values(OPENS).flat()
    function open(event) {
      const on = event.composedPath()[0]  // behind the borders of components
      const is_closed = on.getAttribute?.("role") === "combobox" && on.getAttribute("aria-expanded") === "false"
      if (!is_closed || !KEYS.includes(event.key)) return
      event.preventDefault()
      if (OPENS[event.type].includes(event.key)) on.click()
    }
    export function render() {
      for (const type in OPENS) document.addEventListener(type, open)
    }
    """
