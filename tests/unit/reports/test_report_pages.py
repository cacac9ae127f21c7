"""Pages: valid, self-contained, readable without sight or a script, and true."""

from __future__ import annotations

import itertools
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from conftest import Stored
from consilience.errors import InvalidSpec
from consilience.experiments import load_stored
from consilience.reports import Replicas, comparison_table, figures, html, observables_table, overlaid, page, report
from consilience.store import Run, Store

VOID = {"meta", "img", "br", "hr", "link", "input", "wbr"}


class Outline(HTMLParser):
    """What a page is made of; fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "wbr" and self.words:
            self.words[-1] += data  # where a line may break, within a word
        else:
            self.words.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def single(stored: Stored) -> str:
    return page([stored.spec])


@pytest.fixture(scope="module")
def several(stored: Stored) -> str:
    return page([stored.python, stored.computation])


@pytest.fixture(params=["single", "several"])
def text(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param)


def test_the_page_is_well_formed_and_has_landmarks(text: str) -> None:
    outline = Outline(text)
    assert text.lstrip().startswith("<!DOCTYPE html>")
    assert outline.all("html") == [{"lang": "en"}]
    for landmark in ("header", "main", "footer", "title", "h1"):
        assert len(outline.all(landmark)) == 1, landmark
    ids = [attributes["id"] for _, attributes in outline.found if "id" in attributes]
    assert len(set(ids)) == len(ids)
    inner = [attributes["href"] for attributes in outline.all("a")]
    assert {f"#{one}" for one in ids} >= set(inner)
    references = [attributes["aria-labelledby"] for _, attributes in outline.found if "aria-labelledby" in attributes]
    assert set(references) <= set(ids)


def test_headings_go_down_one_level_at_a_time(text: str) -> None:
    levels = [int(tag[1]) for tag, _ in Outline(text).found if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_nothing_comes_from_elsewhere_and_nothing_runs(text: str) -> None:
    outline = Outline(text)
    assert not outline.all("script", "link", "iframe", "object")
    assert all(attributes["src"].startswith("data:image/") for attributes in outline.all("img"))  # pyright: ignore
    assert not re.search(r"url\(|@import|https?:", re.sub(r'src="data:[^"]*"', "", text))


def test_figures_and_tables_are_read_aloud(text: str) -> None:
    outline = Outline(text)
    images = outline.all("img")
    assert images
    assert all(len(attributes["alt"] or "") > 20 for attributes in images)
    assert len(outline.all("figcaption")) == len(outline.all("figure")) == len(images)
    assert all(attributes["scope"] in ("row", "col") for attributes in outline.all("th"))
    assert len(outline.all("caption")) == len(outline.all("table"))


def test_text_of_users_is_escaped(text: str) -> None:
    assert "<script" not in text
    assert "accuracy & <script>alert('loss')</script>" in Outline(text).text


def test_the_page_says_how_to_make_the_run_again(single: str, stored: Stored) -> None:
    words = Outline(single).text
    for expected in ("consilience run spec.toml", "cs.experiments.resolve_spec(spec)", stored.spec.id, "jax ",
                     "learning_rate = [0.01, 0.1, 1e+30]"):  # fmt: skip
        assert expected in words


def test_diverged_replicas_are_named_and_left_out(single: str, stored: Stored) -> None:
    words = Outline(single).text
    for seed in (0, 1):
        assert f"learning_rate = 1e+30, seed = {seed} diverged in round" in words
    table = observables_table(Replicas.load(stored.spec))
    assert table.columns[:2] == ["learning rate", "N"]
    assert table.rows[2] == ["1e+30", "0 of 2", "–", "–"]


def test_numbers_are_those_of_the_results(stored: Stored) -> None:
    results = load_stored(stored.store, stored.spec.id)
    loss = results.loss.isel(round=-1).mean("agent").sel(learning_rate=0.1).values
    cell = observables_table(Replicas.load(stored.spec)).rows[1][3]
    for shown, expected in zip(cell.split(" ± "), (loss.mean(), loss.std(ddof=1)), strict=True):
        last_digit = 10.0 ** -len(shown.partition(".")[2])
        np.testing.assert_allclose(float(shown), expected, rtol=0, atol=0.51 * last_digit)  # rounded to what is shown


def test_figures_of_a_run_with_rounds(stored: Stored) -> None:
    drawings = {drawing.name: drawing for drawing in figures(Replicas.load(stored.spec))}
    assert set(drawings) == {
        f"{name}-{kind}" for name in ("accuracy", "loss")
        for kind in ("against-learning_rate", "over-rounds")
    } | {"cross-accuracy-first", "cross-accuracy-last"}  # fmt: skip
    against = drawings["loss-against-learning_rate"]
    assert "at the last round" in against.caption
    assert "N = 2" in against.caption
    lines = against.figure.axes[0].lines
    results = load_stored(stored.store, stored.spec.id).loss.isel(round=-1).mean("agent").mean("seed")
    np.testing.assert_array_equal(np.asarray(lines[0].get_xdata()), [0.01, 0.1])  # those that completed
    # Sums in another order.
    np.testing.assert_allclose(np.asarray(lines[0].get_ydata()), results.values[:2], rtol=1e-12)
    assert drawings["loss-over-rounds"].figure.axes[0].get_xlabel() == "round $t$"
    assert drawings["cross-accuracy-last"].title == "Cross-accuracy at learning_rate = 0.1"


def test_runs_are_compared(several: str) -> None:
    words = Outline(several).text
    assert "2 runs compared" in words
    assert "Side by side" in words
    assert "complete(5)" in words


def test_numbers_of_several_runs_stand_in_one_table(stored: Stored) -> None:
    table = comparison_table({"spec": Replicas.load(stored.spec), "coupled": Replicas.load(stored.python)})
    assert table is not None
    assert table.title == "Test accuracy: mean over agents ± standard deviation over seeds (N)"
    rates = ["learning_rate = 0.01", "learning_rate = 0.1", "learning_rate = 1e+30"]
    assert [row[0] for row in table.rows] == [*rates, "coupling = 10", "coupling = 0"]
    assert [bool(cell) for cell in table.rows[0][1:]] == [True, False]
    assert table.rows[2][1] == "– (0)"


def test_runs_that_share_the_axis_are_drawn_together(stored: Stored) -> None:
    run = Replicas.load(stored.python)
    drawings = overlaid({"one": run, "other": run, "apart": Replicas.load(stored.spec)})
    assert [drawing.name for drawing in drawings] == ["accuracy-against-coupling", "loss-against-coupling"]
    labels = [line.get_label() for line in drawings[0].figure.axes[0].lines]
    assert labels == ["one", "other"]


def test_an_unfinished_run_is_reported_with_what_there_is(unfinished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drawings = {drawing.name: drawing for drawing in figures(Replicas.load(unfinished))}
    assert "N = 1" in drawings["loss-over-rounds"].caption
    only = [drawings["loss-over-rounds"]]
    monkeypatch.setattr(html, "figures", lambda replicas: only)  # one is enough
    words = Outline(page([unfinished])).text
    assert "Not finished: 1 of 2 blocks are there" in words
    assert "Test loss over rounds" in words


def test_a_run_without_any_block_is_reported(unfinished: Run) -> None:
    shutil.rmtree(unfinished.path / "cells")
    words = Outline(page([unfinished])).text
    assert "has no finished block yet" in words
    assert "consilience run spec.toml" in words


def test_a_computation_is_reported(stored: Stored) -> None:
    words = Outline(page([stored.computation])).text
    assert "Square against coupling" in words
    assert "coupling 2, seed 2" in words
    assert "not recorded" in words


def test_large_figures_become_png(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "_LARGEST_SVG", 1000)
    sources = [attributes["src"] or "" for attributes in Outline(page([stored.computation])).all("img")]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_the_same_run_gives_the_same_file(stored: Stored, tmp_path: Path) -> None:
    again = Store(stored.store.path).find(stored.computation.id)
    written = report([again], tmp_path / "new" / "report.html")
    assert written.read_text(encoding="utf-8") == page([stored.computation])


def test_no_run_is_no_report() -> None:
    with pytest.raises(InvalidSpec, match="no run to report"):
        page([])
