"""The documentation is true: its code runs, and what it names exists."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import typer

import consilience as cs
from consilience.cli.main import app
from consilience.experiments import resolve_spec

ROOT = Path(__file__).resolve().parents[2]
DOCS, SITE = ROOT / "docs", ROOT / "build" / "docs"
WRITTEN = [page for page in sorted(DOCS.rglob("*.md")) if DOCS / "generated" not in page.parents]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *WRITTEN]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPORTS = sorted((ROOT / "benchmarks").rglob("*.md"))
HOSTS = {"arxiv.org", "keepachangelog.com", "semver.org", "127.0.0.1"}
"""The only hosts that pages may name, the reader's own among them, and no registry."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """Line number and content of each fenced block."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, match.start(1)), match[1]


def prose(page: Path) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def run_blocks(page: Path, replacements: dict[str, str] | None = None) -> None:
    """Run the Python of a page in order, in one module. Every replacement must be of use."""
    module = types.ModuleType("page_of_the_documentation")
    sys.modules[module.__name__] = module  # where dataclasses look annotations up
    unused = set(replacements or {})
    for line, code in blocks(page, "python"):
        for old, new in (replacements or {}).items():
            unused -= {old} if old in code else set()
            code = code.replace(old, new)
        # Empty lines in front, so that a traceback shows the line of the page.
        exec(compile("\n" * line + code, name_of(page), "exec"), vars(module))
    assert not unused, f"{name_of(page)} no longer has {unused}"


# ---- code --------------------------------------------------------------------------------------------------------


def test_the_code_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On digits in place of MNIST, with a thousandth of the rounds and two realizations in place of three."""
    load = cs.tasks.load
    monkeypatch.setattr(cs.tasks, "load", lambda name: load("digits"))
    run_blocks(ROOT / "README.md", {"20_000": "20", "10_000": "10", "range(3)": "range(2)"})
    assert "not reached below" in capsys.readouterr().out, "twenty rounds are not enough"


@pytest.mark.parametrize(
    "page",
    [
        "getting-started.md",
        "extending.md",
        "write-your-own.md",
        "executors.md",
        "large-populations.md",
        "performance.md",
        "figure-3.md",
        "tutorials/bring-your-own.md",
        pytest.param("peer-to-peer.md", marks=pytest.mark.slow),
        pytest.param("theory.md", marks=pytest.mark.slow),
    ],
)
def test_the_code_of_a_page_runs(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(blocks(DOCS / page, "python"))
    run_blocks(DOCS / page)


SHORTER = {"4_000": "20", "2_000": "10", "range(3)": "range(2)", "for depth in (0, 1)": "for depth in (1,)"}
SMALLER = {
    "tutorials/first-transition.md": {
        **SHORTER,
        "[0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]": "[0.0, 10.0, 300.0]",
    },
    "tutorials/theory-and-experiment.md": {
        **SHORTER,
        "depths=[0, 1]": "depths=[1]",
        "num_realizations=20": "num_realizations=2",
        "[0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]": "[0.0, 4.0, 64.0]",
    },
    "tutorials/predict-a-deployment.md": {
        "width=512": "width=64",
        '"num_agents": 10': '"num_agents": 4',
        "[0, 2, 4, 6, 8, 1, 3, 5, 7, 9]": "[0, 2, 1, 3]",
    },
    "tutorials/compare-methods.md": {
        '("isolated", "dgd", "qsgd", "federated_averaging")': '("dgd",)',
        "bits=3e8": "bits=2e7",
        "(0.03, 0.1, 0.3, 1.0)": "(0.3,)",
        "num_seeds=5": "num_seeds=2",
    },
}
"""What takes seconds or minutes as it is printed, and by what it is replaced here."""


@pytest.mark.parametrize("page", SMALLER)
def test_the_code_of_a_page_runs_smaller(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    run_blocks(DOCS / page, SMALLER[page])


def test_every_tutorial_runs_and_is_short() -> None:
    tutorials = {name_of(page).removeprefix("docs/") for page in (DOCS / "tutorials").glob("*.md")}
    assert tutorials == {page for page in [*SMALLER, "tutorials/bring-your-own.md"] if page.startswith("tutorials/")}
    for page in tutorials:
        assert (DOCS / page).read_text(encoding="utf-8").count("\n") <= 150, page


@pytest.mark.parametrize(
    ("page", "function"), [("catalog/README.md", "catalog_page"), ("reference/command-line.md", "command_line_page")]
)
def test_pages_that_are_made_are_those_of_the_code(page: str, function: str) -> None:
    """`make docs` writes them."""
    made = runpy.run_path(str(DOCS / "generate.py"))[function]
    assert (DOCS / page).read_text(encoding="utf-8") == made()


def test_specs_on_pages_resolve() -> None:
    specs = [block for page in PAGES for _, block in blocks(page, "toml")]
    assert specs
    for spec in specs:
        assert resolve_spec(tomllib.loads(spec)).cells


# ---- names -------------------------------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[str]:
    """Command lines in console blocks, and those between backticks in the text."""
    for _, block in blocks(page, "console"):
        lines = block.replace("\\\n", " ").splitlines()
        yield from (line for line in lines if line.strip())
    yield from re.findall(r"`((?:consilience|make) [^`]+)`", prose(page))


@every_page
def test_commands_exist(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for line in commands(page):
        program, *arguments = shlex.split(line.partition(" > ")[0], comments=True)
        if program == "make":
            assert set(arguments) <= targets, line
            continue
        if program == "pip":
            assert arguments[:-1] == ["install", "--constraint", "constraints.txt"], line
            assert arguments[-1] in {f".[{extra}]" for extra in PROJECT["optional-dependencies"]}, line
            continue
        assert program == "consilience", line
        if arguments[0].startswith("--"):
            assert any(arguments[0] in option.opts for option in group.params), line
            continue
        assert arguments[0] in group.commands, line
        if len(arguments) > 1:
            group.commands[arguments[0]].make_context(arguments[0], arguments[1:])  # parses, and does not run


@every_page
def test_names_in_code_exist(page: Path) -> None:
    for dotted in set(re.findall(r"\bcs\.([\w.]*\w)", page.read_text(encoding="utf-8"))):
        thing: Any = cs
        for part in dotted.split("."):
            assert hasattr(thing, part), f"{name_of(page)} names cs.{dotted}, which does not exist"
            thing = getattr(thing, part)


@every_page
def test_files_that_are_named_exist(page: Path) -> None:
    pattern = r"`((?:src|tests|benchmarks|docs|consilience)/[\w./-]+|(?:algorithms|experiments|simulation)/[\w./-]+)"
    for path in set(re.findall(pattern, prose(page))):
        places = [ROOT / path, ROOT / "src" / path, ROOT / "src" / "consilience" / path]
        assert any(place.exists() for place in places), f"{name_of(page)} names {path}, which does not exist"


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not urlparse(target).scheme:
            assert (page.parent / target.partition("#")[0]).exists(), f"{name_of(page)} links to {target}"


@pytest.mark.parametrize("page", [*PAGES, *REPORTS], ids=name_of)
def test_no_registry_and_no_place_of_one_machine_is_named(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert {urlparse(url).hostname for url in re.findall(r"https?://[^\s)>`]+", text)} <= HOSTS
    assert not re.findall(r"(?<![\w.])/(?:home|root|tmp|work|Users|opt|mnt)/", text)


@every_page
def test_images_say_in_words_what_they_show(page: Path) -> None:
    for words in re.findall(r"!\[([^\]]*)\]\(", prose(page)):
        assert len(words.split()) >= 4, f"{name_of(page)}: ![{words}]"


def test_every_page_is_in_the_contents_of_the_site() -> None:
    contents = "\n".join(block for _, block in blocks(DOCS / "index.md", "{toctree}")).split()
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in WRITTEN}
    numbered = {page for page in pages if page.startswith("decisions/")}  # in a list that is made
    assert pages - numbered - {"index"} <= set(contents)


@pytest.mark.skipif(not SITE.exists(), reason="`make docs` builds the site")
def test_the_site_loads_nothing_from_elsewhere() -> None:
    for page in SITE.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"([^\"]+)\"", page.read_text(encoding="utf-8")
        )
        assert not [url for url in loaded if urlparse(url).netloc], page.relative_to(SITE)
    for sheet in SITE.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet.relative_to(SITE)


def test_every_observable_of_the_glossary_exists() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert set(re.findall(r'`"(\w+)"`', text)) <= set(cs.observables.OBSERVABLES)


def test_the_presets_of_figure_3_are_those_of_the_table() -> None:
    text = (ROOT / "docs" / "figure-3.md").read_text(encoding="utf-8")
    rows = {
        name: cells for name, *cells in (line.strip("| ").split(" | ") for line in text.splitlines() if "|" in line)
    }
    for name, preset in cs.recipes.get("figure-3").presets.items():
        config = preset()
        cells = rows["(default)" if name == "default" else f"`--{name}`"]
        numbers = [int(re.findall(r"[\d,]+", cell)[0].replace(",", "")) for cell in cells[1:]]
        averaged = config.num_rounds - config.average_after
        assert numbers == [len(config.couplings), config.num_rounds, averaged, config.num_realizations], name


# ---- versions, decisions, dependencies ---------------------------------------------------------------------------


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert versions[0] == cs.__version__


def test_decisions_are_numbered_and_short() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    for record in records:
        text = record.read_text(encoding="utf-8")
        assert text.startswith(f"# {record.name[:4]}. ")
        assert text.count("\n") <= 25, record.name
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences")), record.name


def imported_by() -> dict[str, set[str]]:
    """Library → subpackages that import it, other than for type checkers."""
    homes: dict[str, set[str]] = {}
    source = ROOT / "src" / "consilience"
    for path in source.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typed = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
        skipped = {id(inner) for node in typed for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if id(node) in skipped or not isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                homes.setdefault(module.partition(".")[0], set()).add(path.relative_to(source).parts[0])
    return homes


def table(record: str) -> list[list[str]]:
    """The rows of a decision's table, without its head."""
    text = (DOCS / "decisions" / record).read_text(encoding="utf-8")
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ][2:]


def test_the_record_of_dependencies_is_complete_and_true() -> None:
    rows = [(re.sub(r" \(extra `\w+`\)", "", names), homes) for names, _, homes in table("0011-dependencies.md")]
    recorded = {library: homes for names, homes in rows for library in names.split(", ")}
    extras = PROJECT["optional-dependencies"]

    def names(dependencies: list[str]) -> set[str]:
        return {re.split(r"[<>=]", dependency)[0] for dependency in dependencies}

    assert set(recorded) == names(PROJECT["dependencies"]) | names(extras["dashboard"]) | {"pandas"}
    assert {library for library, *_ in table("0021-documentation-site.md")} == names(extras["docs"])
    homes = imported_by()
    for library, where in recorded.items():
        if where != "everywhere":
            named = set(re.findall(r"`(\w+)`", where))
            assert homes.get(library.replace("scikit-learn", "sklearn").replace("-", "_"), set()) == named, library
