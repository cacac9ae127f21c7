"""How Sphinx builds the documentation: `make docs`."""

from __future__ import annotations

import re
from typing import Any

import math_core
from docutils import nodes
from sphinx.application import Sphinx

import consilience

project = "consilience"
author = "the authors of consilience"
copyright = "the authors of consilience, Apache-2.0"
version = release = consilience.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# ---- pages: Markdown that GitHub shows, too -------------------------------------------------------------------------

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]

# ---- reference: docstrings ------------------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [
    ("Attributes", "params_style"), "Update rule", "Reduces to", "Cost", "Assumes", "Known limits", "Source",
]  # fmt: skip

# ---- look: nothing comes from the network ---------------------------------------------------------------------------

html_theme = "furo"
html_title = f"consilience {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def as_restructured_text(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code`, examples, and in modules a few lines of code between empty ones.

    What reStructuredText would read into |λ₂|, θ_, ** and "N." is escaped.
    """
    paragraphs = [paragraph.split("\n") for paragraph in "\n".join(lines).strip().split("\n\n")]
    lines[:] = []
    for paragraph in paragraphs:
        is_code = paragraph[0].startswith("    ") or all(re.match(r"[\w.]+( = [\w.]+)?\(", line) for line in paragraph)
        if what == "module" and is_code:
            lines += ["::", "", *("   " + line for line in paragraph), ""]
            continue
        example = next((n for n, line in enumerate(paragraph) if line.lstrip().startswith(">>>")), len(paragraph))
        lines += [*_escaped("\n".join(paragraph[:example])).split("\n"), *paragraph[example:], ""]


def _escaped(text: str) -> str:
    parts = text.split("`")
    parts[::2] = [re.sub(r"[*|]|(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
    parts[2::2] = [re.sub(r"^(?=[\w(])", r"\\ ", part) for part in parts[2::2]]  # `code`s
    return re.sub(r"(^\s*|: )(\w)\.(?=\s|$)", r"\1\2\\.", "``".join(parts), flags=re.MULTILINE)


_to_mathml = math_core.LatexToMathML()


def _formula(translator: Any, node: nodes.math | nodes.math_block) -> None:
    is_block = isinstance(node, nodes.math_block)
    mathml = _to_mathml.convert_with_local_state(node.astext(), displaystyle=is_block)
    translator.body.append(f'<div class="formula">{mathml}</div>' if is_block else mathml)
    raise nodes.SkipNode


def _reports(app: Sphinx, name: str, source: list[str]) -> None:
    """The reports of the benchmarks stand beside the docs, and a copy of them in the site."""
    source[0] = source[0].replace("../benchmarks/reports/", "generated/reports/")


def setup(app: Sphinx) -> None:
    """Formulas become MathML, which browsers show without scripts and fonts from elsewhere."""
    app.add_html_math_renderer("mathml", (_formula, None), (_formula, None))
    app.connect("source-read", _reports)
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)  # before napoleon
