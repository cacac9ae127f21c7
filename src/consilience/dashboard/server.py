"""The web server: which page stands at which address, and who may see it."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
import urllib.parse
from collections.abc import Callable
from typing import Any

import panel as pn
import param
from panel.io.server import get_server

from consilience.dashboard.frame import PAGES, page
from consilience.dashboard.laboratory import Laboratory
from consilience.dashboard.live_page import REFRESH, LivePage
from consilience.dashboard.store_page import store_page
from consilience.errors import InvalidSpec
from consilience.store import Store

LOOPBACK = "127.0.0.1"
PORT = 5006
LARGEST_MESSAGE = 64 * 2**20
"""Bytes of one upload."""


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a server at that address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def query_of(search: str) -> dict[str, str]:
    """The parameters of a page's address, as the text that they are.

    Args:
        search: "?session=012345678912&tab=1".

    Example:
        >>> query_of("?session=000000000012&tab=1")
        {'session': '000000000012', 'tab': '1'}
    """
    return dict(urllib.parse.parse_qsl(search.removeprefix("?")))


class Tab(param.Parameterized):
    """The number of a tab in an address, which people may write there: what is no tab is not taken over.

    Args:
        tabs: whose `active` it follows, and the other way round.

    Example:
        >>> tab = Tab(pn.Tabs(("first", ""), ("second", "")))
        >>> tab.number = 1
        >>> tab.tabs.active
        1
    """

    number = param.Integer(0, bounds=(0, 0))

    def __init__(self, tabs: Any) -> None:
        super().__init__()
        self.tabs = tabs
        self.param["number"].bounds = (0, len(tabs) - 1)
        self.number = tabs.active
        self.param.watch(lambda event: setattr(tabs, "active", event.new), "number")
        tabs.param.watch(lambda event: setattr(self, "number", event.new), "active")


def _live(laboratory: Laboratory) -> Any:
    """The live page. Its address is written, and the session looked at, once the browser has it."""
    location = pn.state.location
    address: dict[str, str] = {}

    def write(changes: dict[str, str]) -> None:
        address.update(changes)
        if pn.state.loaded and location is not None:
            location.update_query(**changes)  # pyright: ignore[reportArgumentType]

    live = LivePage(laboratory, query_of(location.search if location else ""), write)

    def begin() -> None:
        if location is not None:
            location.sync(Tab(live.tabs), {"number": "tab"})
        live.open()
        if location is not None:
            location.update_query(**address)  # pyright: ignore[reportArgumentType]
        pn.state.add_periodic_callback(look, period=REFRESH)
        pn.state.on_session_destroyed(lambda _: live.close())

    document = pn.state.curdoc

    def look() -> None:
        """Refresh, unless the tab is closed: Bokeh keeps its page for a while, in case it comes back."""
        session = getattr(document and document.session_context, "session", None)
        if session is not None and session.connection_count > 0:
            live.refresh()

    main, sidebar = live.main(), live.sidebar()
    pn.state.onload(begin)
    return page("live", main, sidebar)


def _store(store: Store) -> Any:
    main, sidebar = store_page(store)
    return page("store", [main], [sidebar])


def serve(
    store: Store,
    *,
    data_dir: str | None = None,
    address: str = LOOPBACK,
    port: int = PORT,
    show: bool = False,
    on_start: Callable[[str, str | None], None] | None = None,
) -> None:
    """Serve the laboratory until it is interrupted.

    Args:
        store: whose runs can be seen, and where sessions are kept.
        data_dir: where data sets are looked for first.
        address: to listen at; anything but this machine's own needs the token that `on_start` is told.
        port: to listen at; 0 for any that is free.
        show: whether to open a browser.
        on_start: told the address of the page, and the token or `None`, before the first page is served.

    Raises:
        InvalidSpec: if the address or port cannot be listened at.
    """
    laboratory = Laboratory(store, data_dir=data_dir)
    logging.getLogger("bokeh").setLevel(logging.ERROR)  # a tab that is closed is no news
    port = port or _free_port(address)
    token = None if is_loopback(address) else secrets.token_urlsafe(16)
    protected: dict[str, Any] = {} if token is None else {"basic_auth": token, "cookie_secret": secrets.token_hex(32)}
    apps: dict[str, Any] = {"live": lambda: _live(laboratory), "store": lambda: _store(store)}
    assert set(apps) == set(PAGES)
    origins = _origins(address, port)
    try:
        server = get_server(
            apps,
            address=address,
            port=port,
            title={address: f"consilience: {label.lower()}" for address, (label, _) in PAGES.items()},
            show=show,
            start=False,
            verbose=False,
            index=None,
            websocket_origin=[origin for origin in origins if "[" not in origin] or None,
            websocket_max_message_size=LARGEST_MESSAGE,
            **protected,
        )
    except OSError as error:
        raise InvalidSpec(
            f"Nothing can listen at {address}:{port}: {error.strerror}. Is a laboratory running there? Choose another, "
            "--port 0 for any that is free."
        ) from error
    if any("[" in origin for origin in origins):
        _allow(server, origins)
    if on_start is not None:
        on_start(f"http://{_host(address)}:{server.port}/live", token)
    try:
        server.start()
        server.io_loop.start()
    finally:
        laboratory.close()


def _origins(address: str, port: int) -> list[str]:
    """Pages that may talk to the server: its own only; a name that stands for all addresses allows them."""
    if address in ("0.0.0.0", "::"):
        return ["*"]
    names = ("127.0.0.1", "localhost", _host(address)) if is_loopback(address) else (_host(address),)
    return [f"{name}:{port}" for name in dict.fromkeys(names)]


def _allow(server: Any, origins: list[str]) -> None:
    """Let these pages talk to the server, and no others.

    Bokeh takes the brackets of an IPv6 address for a mistake when it begins, and finds them in its set later.
    """
    allowed = server._tornado.websocket_origins
    allowed.clear()
    allowed.update(origins)


def _host(address: str) -> str:
    """An address as it stands before a port; those of IPv6 have colons of their own."""
    return f"[{address}]" if ":" in address else address


def _free_port(address: str) -> int:
    """A port at which nobody listens: chosen before the server begins, which has to know from where pages may talk."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]
