"""The pages that are made and not written: `python docs/generate.py`, which `make docs` runs.

In the repository, for they read well there: the catalog and the commands. In docs/generated, for the site alone: the
reference of every package, made by Sphinx from what `__all__` names; the changelog and the reports of the benchmarks.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

import consilience
from consilience.algorithms.page import catalog_page
from consilience.cli.main import app

DOCS = Path(__file__).parent
GENERATED = DOCS / "generated"

_HEAD = """# The command line

This page is made of what the commands say of themselves (`make docs` writes it). Every command says the same
with `--help` or `-h` after its name.
"""


_INDICES = [("benchmarks", "Benchmarks", "reports/*"), ("decisions", "Decisions", "../decisions/*")]


def command_line_page() -> str:
    """All commands, with their arguments and options, in Markdown."""
    group: Any = typer.main.get_command(app)
    parts = [_HEAD, f"## consilience\n\n{group.help}\n\n{_parameters(group)}"]
    parts += [_command(f"consilience {name}", command) for name, command in group.commands.items()]
    return "\n".join(parts)


def _command(path: str, command: Any) -> str:
    operands = " ".join(_operand(p) for p in command.params if p.param_type_name == "argument")
    usage = f"{path} [OPTIONS] {operands}".rstrip()
    parts = [f"## {path}\n\n```text\n{usage}\n```\n\n{command.help}\n\n{_parameters(command)}"]
    parts += [_command(f"{path} {name}", inner) for name, inner in getattr(command, "commands", {}).items()]
    return "\n".join(parts)


def _operand(parameter: Any) -> str:
    if parameter.metavar:
        return parameter.metavar
    name = parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _parameters(command: Any) -> str:
    rows = [f"| {_spelled(p)} | {p.help}{_default(p)} |\n" for p in command.params if not p.hidden]
    return "".join(["| | |\n|---|---|\n", *rows]) if rows else ""


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_operand(parameter)}`"
    takes = f" {parameter.metavar}" if parameter.metavar else ""
    return ", ".join(f"`{spelling}{takes}`" for spelling in parameter.opts)


def _default(parameter: Any) -> str:
    shown = "" if parameter.default in (None, False) else f" Default: {parameter.default}."
    return " Required." if parameter.required else shown


def public_modules(module: ModuleType = consilience) -> Iterator[ModuleType]:
    """A module, and the public modules that it offers in `__all__`."""
    yield module
    for inner in _inner(module):
        yield from public_modules(inner)


def _inner(module: ModuleType) -> list[ModuleType]:
    members = (getattr(module, name) for name in getattr(module, "__all__", ()))
    return [member for member in members if isinstance(member, ModuleType)]


def _reference_page(module: ModuleType) -> str:
    is_root, inner = module is consilience, _inner(module)
    title = "The Python interface" if is_root else module.__name__.replace("consilience", "cs", 1)
    lines = [f"# {title}", "", "```{eval-rst}", f".. automodule:: {module.__name__}"]
    lines += ["   :members: simulate, sweep" if is_root else "   :members:", "```", ""]
    if inner:
        lines += ["```{toctree}", ":maxdepth: 1", "", *(one.__name__ for one in inner), "```", ""]
    return "\n".join(lines)


def main() -> None:
    """Write them all."""
    (DOCS / "catalog" / "README.md").write_text(catalog_page(), encoding="utf-8")
    (DOCS / "reference" / "command-line.md").write_text(command_line_page(), encoding="utf-8")
    shutil.rmtree(GENERATED, ignore_errors=True)
    (GENERATED / "api").mkdir(parents=True)
    for module in public_modules():
        (GENERATED / "api" / f"{module.__name__}.md").write_text(_reference_page(module), encoding="utf-8")
    shutil.copy(DOCS.parent / "CHANGELOG.md", GENERATED / "changelog.md")
    shutil.copytree(DOCS.parent / "benchmarks" / "reports", GENERATED / "reports")
    for name, title, pages in _INDICES:
        (GENERATED / f"{name}.md").write_text(
            f"# {title}\n\n```{{toctree}}\n:glob:\n:maxdepth: 1\n\n{pages}\n```\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
