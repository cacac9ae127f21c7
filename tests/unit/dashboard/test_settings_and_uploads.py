"""What people ask for and bring: limits of settings, files that are checked, sliders that say what holds, addresses."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import panel_material_ui as pmui
import pytest
from bokeh.server.util import check_allowlist
from panel.io.location import Location
from panel.io.server import get_server

import consilience as cs
from consilience.dashboard import server, store_page
from consilience.dashboard.form import Form
from consilience.dashboard.settings import LIMITS, MOST_AGENTS, Settings, from_query, path_of, to_query
from consilience.dashboard.sliders import ParameterSlider
from consilience.dashboard.theory import wide
from consilience.dashboard.theory.forecast import Forecast
from consilience.dashboard.theory.timeline import timeline
from consilience.dashboard.uploads import keep
from consilience.errors import DataError, IncompatiblePair, InvalidSpec, UnknownName
from consilience.experiments.spec import build_task_and_graph
from consilience.simulation import Restart, Stage, SwapData
from consilience.store import Store
from consilience.tasks import from_npz

X = np.linspace(-1, 1, 400)[:, None]
CLASSES = np.arange(400) % 2


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def arrays(**changes: Any) -> dict[str, Any]:
    return {"x": X, "y": CLASSES, "x_test": X, "y_test": CLASSES, **changes}


def npz(**changes: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays(**changes))
    return file.getvalue()


# ---- damaged files -----------------------------------------------------------------------------------------------


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    """A file of numpy's with 64 bytes of data, whatever it claims."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(64)


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)
    return file.getvalue()


def packed(**changes: bytes) -> dict[str, bytes]:
    """The arrays as files of numpy's."""
    members = {}
    for name, array in arrays().items():
        file = io.BytesIO()
        np.save(file, array)
        members[name] = file.getvalue()
    return members | changes


def overwritten(content: bytes) -> bytes:
    """The middle of the first member is no compressed data any more."""
    begin = 30 + int.from_bytes(content[26:28], "little") + int.from_bytes(content[28:30], "little") + 10
    return content[:begin] + b"\xff" * 60 + content[begin + 60 :]


def with_flag(content: bytes, flag: int) -> bytes:
    """All members say that they are encrypted, or whatever the flag means."""
    changed = bytearray(content)
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for match in re.finditer(re.escape(signature), content):
            changed[match.start() + place] |= flag
    return bytes(changed)


DAMAGED = {
    "overwritten.npz": (lambda: overwritten(npz()), "is not an archive of numeric arrays"),
    "overwritten-lzma.npz": (lambda: overwritten(archive(packed(), zipfile.ZIP_LZMA)), "is not an archive"),
    "encrypted.npz": (lambda: with_flag(npz(), 1), "x is encrypted"),
    "patched.npz": (lambda: with_flag(npz(), 0x20), "is not an archive"),
    "claims.npz": (lambda: archive(packed(x=header((10**15,)))), "claims shape"),
    "claims-little.npz": (lambda: archive(packed(x=header((100,)))), "800 bytes, and 192 are there"),
    "negative.npz": (lambda: archive(packed(x=header((-1,)))), "is not an archive"),
    "nested.npz": (lambda: archive(packed(x=b"\x93NUMPY\x01\x00\xff\x0f" + b"(" * 0xFFF)), "is not an archive"),
    "short.npz": (lambda: archive(packed(x=b"\x93NUM")), "is not an archive"),
    "objects.npz": (lambda: npz(x=np.array([{}] * 400, dtype=object)), "is not an archive"),
    "one-class.npz": (lambda: npz(y=0 * CLASSES, y_test=0 * CLASSES), "single class"),
    "lacking.npz": (lambda: archive({"x": packed()["x"]}), "lacks y, x_test, y_test"),
    "digits.csv": (lambda: b"0," + b"9" * 5000, "5,000 characters"),
    "many.csv": (lambda: "".join(f"a{i},b{i}\n" for i in range(30_000)).encode(), "60,000 agents, more than the 50"),
    "numbered.csv": (lambda: "".join(f"{i},{i + 1}\n" for i in range(50)).encode(), "51 agents, more than the 50"),
    "wide.csv": (lambda: b"0," + b"x" * 200_000, "field larger than field limit"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_upload_is_refused_as_often_as_it_is_brought(store: Store, name: str) -> None:
    make, reason = DAMAGED[name]
    content = make()
    for _ in range(2):
        with pytest.raises(DataError, match=reason) as refused:
            keep(store, name, content)
        assert "upload." not in str(refused.value)  # but what the person calls it
        assert "/" not in str(refused.value).split(reason)[0]  # no directory of the server
    assert not list(store.path.rglob("*.npz")) + list(store.path.rglob("*.csv"))


def test_a_damaged_file_that_an_earlier_version_kept_is_refused_too(store: Store) -> None:
    content = overwritten(npz())
    path = path_of(store, keep(store, "mine.npz", npz()))
    damaged = path.with_name(hashlib.sha256(content).hexdigest()[:16] + ".npz")
    damaged.write_bytes(content)
    with pytest.raises(DataError):
        keep(store, "mine.npz", content)


def test_what_is_whole_is_kept_under_its_hash(store: Store) -> None:
    name = keep(store, "../../Mine\ud800.NPZ", npz())
    assert path_of(store, name).read_bytes() == npz()
    assert keep(store, "again.npz", npz()) == name
    graph = keep(store, "cycle.csv", "".join(f"{i},{(i + 1) % 50}\n" for i in range(50)).encode())
    assert Settings(graph_file=graph).to_spec(store)["partition"]["num_agents"] == MOST_AGENTS
    assert [path.name for path in store.path.rglob("*.*")].count(name) == 1


@pytest.mark.parametrize("name", [name for name in DAMAGED if name.endswith(".npz") and name != "one-class.npz"])
def test_from_npz_has_one_error_for_damaged_files(tmp_path: Path, name: str) -> None:
    make, reason = DAMAGED[name]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(DataError, match=reason):
        from_npz(tmp_path / name)


def test_a_claim_is_refused_before_there_is_room_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "claims.npz").write_bytes(DAMAGED["claims.npz"][0]())
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("made room for 10¹⁵ numbers"))
    with pytest.raises(DataError, match=r"shape \(1000000000000000,\) of float64, 8,000,000,000,000,000 bytes"):
        from_npz(tmp_path / "claims.npz")


def test_arrays_that_do_not_fit_into_memory_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise MemoryError

    (tmp_path / "mine.npz").write_bytes(npz())
    for place in ("numpy.lib.format.read_array", "consilience.tasks.npz.from_arrays"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(DataError, match=r"mine\.npz do not fit into memory\. Keep fewer samples"):
                from_npz(tmp_path / "mine.npz")
    assert from_npz(tmp_path / "mine.npz").num_train == 400


def test_an_archive_that_is_too_large_says_that_first(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(npz())
    with pytest.raises(DataError, match=r"^The arrays in mine\.npz take 13,\d{3} bytes, more than the 1,000 that are"):
        from_npz(tmp_path / "mine.npz", most_bytes=1000)


# ---- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "width=1000000", "width=1", "depth=99", "depth=-1", "batch=0", "batch=5000", "seed=-1", "seed=2147483648",
        "agents=1", "agents=51", "rate=nan", "rate=0", "rate=-0.1", "rate=inf", "coupling=-1", "coupling=nan",
        "coupling=inf", "decay=-1", "decay=nan", "agents=2.5",
    ],
)  # fmt: skip
def test_an_address_obeys_the_limits_of_the_form(query: str) -> None:
    name, value = query.split("=")
    with pytest.raises(InvalidSpec, match=name) as refused:
        from_query({name: value})
    assert f"Write {name}" in str(refused.value)


@pytest.mark.parametrize("model", ["foo", "", "\ud800"])
def test_an_address_names_a_model_of_the_page(model: str) -> None:
    with pytest.raises(UnknownName, match=r"Known: mlp, ntk_mlp") as refused:
        from_query({"model": model})
    str(refused.value).encode()  # and can be sent to the browser


def test_both_ends_of_every_limit_are_taken() -> None:
    for name, ends in LIMITS.items():
        for value in ends:
            values: dict[str, Any] = {name: value}
            settings = Settings(**values)
            assert from_query(to_query(settings)) == settings


def test_the_form_has_the_same_limits_and_an_empty_field_is_refused() -> None:
    form = Form(Settings(), on_upload=lambda name, content: "")
    ends = {name: (one.start, one.end) for name, one in form.widgets.items() if hasattr(one, "start")}
    assert ends == {name: LIMITS[name] for name in ("agents", "depth", "width", "batch", "seed")}
    form.widgets["width"].value = None
    with pytest.raises(InvalidSpec, match="width = None"):
        form.read()


def test_a_graph_of_an_upload_obeys_the_limit_before_there_is_a_matrix(store: Store) -> None:
    path = path_of(store, f"{'0' * 16}.csv")  # kept by an earlier version
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"a{i},b{i}\n" for i in range(100_000)))  # 300 GB
    with pytest.raises(DataError, match="200,000 agents, more than the 50"):
        Settings(graph_file=path.name).to_spec(store)


def test_the_title_says_whose_data_they_are(store: Store) -> None:
    name = keep(store, "mine.npz", npz())
    assert Settings(data_file=name).to_spec(store)["title"] == "live: diffusive_coupling on uploaded data"
    assert Settings().to_spec()["title"] == "live: diffusive_coupling on digits"


def test_wide_networks_learn_uploads_by_the_squared_loss_or_say_why_not(store: Store) -> None:
    classes = keep(store, "classes.npz", npz())
    with pytest.raises(IncompatiblePair, match=r"cross-entropy.*one-hot"):
        Settings(model="ntk_mlp", data_file=classes).to_spec(store)
    one_hot = np.eye(2)[CLASSES]
    targets = keep(store, "targets.npz", npz(y=one_hot, y_test=one_hot))
    spec = Settings(model="ntk_mlp", data_file=targets, partition="iid").to_spec(store)
    task, _, _ = build_task_and_graph(spec)
    assert task.loss.name == "squared"
    named = Settings(model="ntk_mlp").to_spec()["task"]
    assert (named["loss"], named["num_train"]) == ("squared", 1000)


# ---- sliders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "label"),
    [
        ("eps", 1e-8, "eps = 1e-08"),
        ("learning_rate", 20.0, "learning rate η = 20"),
        ("momentum", -0.5, "momentum = -0.5"),
        ("weight_decay", 0.0, "weight decay γ = 0"),
        ("coupling", 12.5, "coupling σ = 12.5"),
    ],
)
def test_a_slider_says_what_holds_though_its_handle_cannot_stand_there(name: str, value: float, label: str) -> None:
    chosen: list[float] = []
    slider = ParameterSlider(name, on_choice=chosen.append)
    slider.show(value)
    assert slider.widget.label == label
    place = slider.widget.value
    slider.widget.value_throttled = place  # taken and let go in its place
    assert chosen == []
    slider.widget.value = -0.5
    assert slider.widget.label.endswith(" = 0.316")
    slider.widget.value = place  # and back
    assert slider.widget.label == label
    slider.widget.param.update(value=-0.5, value_throttled=-0.5)
    assert chosen == [0.316]
    slider.show(value)
    assert slider.widget.label == label


# ---- texts -------------------------------------------------------------------------------------------------------


def test_advice_after_a_swap_helps() -> None:
    """Swapping back and restarting does not: the prediction begins in round 0."""
    task = cs.tasks.load("digits", num_train=20, num_test=10, loss="squared")
    algorithm = cs.algorithms.DiffusiveCoupling(learning_rate=0.1)
    experiment = cs.simulation.resolve_experiment(
        algorithm, model=cs.models.ntk_mlp(depth=1, width=8), task=task,
        shards=cs.tasks.by_class(task, num_agents=2), graph=cs.graphs.complete(2), num_rounds=1, batch_size=None,
        common_init=True,
    )  # fmt: skip
    begun = Stage(experiment, (algorithm,))
    segments = timeline(begun, [SwapData(5, 0, 1), SwapData(8, 0, 1), Restart(8)])
    forecast = Forecast(wide.linearize(begun, seed=0), task.test_labels, experiment.shards)
    with pytest.raises(IncompatiblePair, match="Begin a new population") as refused:
        forecast.predict(segments, [0, 10])
    assert "wap them back" not in str(refused.value)


def test_an_empty_store_does_not_promise_that_sessions_appear_in_it() -> None:
    assert "that you keep" not in store_page._EMPTY
    assert "export one as a spec" in store_page._EMPTY
    assert "consilience run session.toml" in store_page._EMPTY


# ---- addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["99", "3", "-1", "foo", "1.5", "null", "[1]", ""])
def test_an_address_with_no_such_tab_shows_the_first(number: str) -> None:
    tabs, location = pmui.Tabs("a", "b", "c"), Location(search=f"?agents=5&tab={number}")
    location.sync(server.Tab(tabs), {"number": "tab"})
    assert tabs.active == 0
    assert server.query_of(location.search) == {"agents": "5", "tab": "0"}


def test_the_address_and_the_tabs_follow_each_other() -> None:
    tabs, location = pmui.Tabs("a", "b", "c"), Location(search="?tab=2")
    location.sync(server.Tab(tabs), {"number": "tab"})
    assert tabs.active == 2
    tabs.active = 1
    assert location.search == "?tab=1"
    for search, active in (("?tab=0", 0), ("?tab=7", 0), ("?tab=2", 2)):
        location.search = search
        assert tabs.active == active


@pytest.mark.parametrize(
    ("address", "origins"),
    [
        ("127.0.0.1", ["127.0.0.1:5006", "localhost:5006"]),
        ("localhost", ["127.0.0.1:5006", "localhost:5006"]),
        ("127.0.0.2", ["127.0.0.1:5006", "localhost:5006", "127.0.0.2:5006"]),
        ("::1", ["127.0.0.1:5006", "localhost:5006", "[::1]:5006"]),
        ("192.168.0.7", ["192.168.0.7:5006"]),
        ("2001:db8::1", ["[2001:db8::1]:5006"]),
        ("0.0.0.0", ["*"]),
        ("::", ["*"]),
    ],
)
def test_a_page_may_talk_to_the_server_whose_address_it_has(address: str, origins: list[str]) -> None:
    assert server._origins(address, 5006) == origins


def can_listen(address: str) -> bool:
    try:
        server._free_port(address)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_a_loopback_address_is_served_and_announced(
    store: Store, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_listen(address):
        pytest.skip(f"nothing can listen at {address} here")
    made: list[Any] = []
    monkeypatch.setattr(
        server, "get_server", lambda *args, **options: made.append(get_server(*args, **options)) or made[0]
    )
    told: list[str] = []

    class Announced(Exception):
        pass

    def announce(url: str, token: str | None) -> None:
        told.append(url)
        assert token is None
        raise Announced

    with pytest.raises(Announced):
        server.serve(store, address=address, port=0, on_start=announce)
    (url,), (listening,) = told, made
    listening.stop()
    host = url.removeprefix("http://").removesuffix("/live")
    assert host == f"{server._host(address)}:{listening.port}"
    allowed = listening._tornado.websocket_origins
    assert check_allowlist(host, allowed)
    assert not check_allowlist(f"example.org:{listening.port}", allowed)
