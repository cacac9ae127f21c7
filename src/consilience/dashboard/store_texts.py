"""Text in the store browser: messages, headings, tables, and code that can be copied. Whatever is given is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import ClassVar

import panel as pn
import panel_material_ui as pmui
import param
from panel.custom import JSComponent

from consilience.reports import Table

# Lines and grounds are shades of the text's own colour, and so fit both themes.
_STYLE = """
:host { line-height: 1.5; }
h2 { font-size: 1.5rem; } h3 { font-size: 1.1rem; } h2, h3 { font-weight: 500; margin: 0; overflow-wrap: anywhere; }
p { margin: 0; max-width: 60rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 11rem), 1fr)); gap: 0.4rem 1.5rem;
     margin: 0; max-width: 76rem; }
dt { opacity: 0.7; font-size: 0.85rem; } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.4rem; opacity: 0.75; }
th, td { text-align: left; padding: 0.25rem 1.2rem 0.25rem 0; vertical-align: top; font-weight: 400;
         border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
thead th { font-weight: 500; }
td, tbody th { white-space: nowrap; } td.long { white-space: normal; min-width: 10rem; overflow-wrap: anywhere; }
figure { margin: 0; } img { display: block; width: 100%; background: white; border-radius: 4px; }  /* in either theme */
figcaption { font-size: 0.9rem; margin-top: 0.35rem; }
pre { margin: 0; padding: 0.8rem; overflow-x: auto; max-height: 24rem; border-radius: 4px; font-size: 0.85rem;
      background: color-mix(in srgb, currentColor 8%, transparent); }
:focus-visible { outline: 2px solid currentColor; }
"""
_LONG = 40  # characters that a cell of a table has in one line


def message(text: str, severity: str = "error", title: str = "") -> pmui.Alert:
    """A message in a frame.

    Args:
        text: a paragraph.
        severity: "error", "warning", "info" or "success".
        title: above the text.

    Example:
        >>> message("No run is called '<b>'.", title="Not found").object
        '<div>No run is called &#x27;&lt;b&gt;&#x27;.</div>'
    """
    # A division is taken as it is; anything else would be read as Markdown.
    body = f"<div>{' '.join(escape(text).split())}</div>"
    return pmui.Alert(object=body, severity=severity, title=title or None, margin=(5, 10), sizing_mode="stretch_width")


def heading(text: str, level: int = 2) -> pn.pane.HTML:
    """A heading of the page.

    Example:
        >>> heading("loss < 1").object
        '<h2>loss &lt; 1</h2>'
    """
    return html(f"<h{level}>{escape(text)}</h{level}>")


def paragraph(text: str) -> pn.pane.HTML:
    """A paragraph.

    Example:
        >>> paragraph("loss < 1").object
        '<p>loss &lt; 1</p>'
    """
    return html(f"<p>{escape(text)}</p>")


def facts(values: Mapping[str, str]) -> pn.pane.HTML:
    """Names and what they are, those left out that are empty.

    Example:
        >>> facts({"graph": "complete", "protocol": ""}).object
        '<dl><div><dt>graph</dt><dd>complete</dd></div></dl>'
    """
    rows = [f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values.items() if value]
    return html(f"<dl>{''.join(rows)}</dl>")


def table(content: Table) -> pn.pane.HTML:
    """A table, with the headings of its columns and rows marked as such; where it is too wide, it scrolls by itself.

    Example:
        >>> shown = table(Table("Accuracies", ["coupling", "accuracy"], [["0.5", "0.9"]])).object
        >>> "<th scope='row'>0.5</th><td>0.9</td>" in shown
        True
    """
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in content.columns)
    body = "".join(f"<tr>{_row(row, content.num_keys)}</tr>" for row in content.rows)
    return html(
        f"<div class='wide' tabindex='0' role='region' aria-label='{escape(content.title)}'><table>"
        f"<caption>{escape(content.title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(values: list[str], num_keys: int) -> str:
    keys = "".join(f"<th scope='row'>{escape(value)}</th>" for value in values[:num_keys])
    cells = [(" class='long'" if len(value) > _LONG else "", escape(value)) for value in values[num_keys:]]
    return keys + "".join(f"<td{kind}>{value}</td>" for kind, value in cells)


def code(text: str, name: str) -> pmui.Column:
    """Code with a button that copies it.

    Args:
        text: what is shown and copied.
        name: what it is, on the button: "command" for "Copy the command".
    """
    shown = html(f"<pre tabindex='0' aria-label='{escape(name)}'><code>{escape(text)}</code></pre>")
    return pmui.Column(shown, CopyButton(text=text, what=name, margin=(5, 10)), sizing_mode="stretch_width", margin=0)


class CopyButton(JSComponent):
    """A button that copies text, which browsers allow at this machine's own address and over HTTPS."""

    text = param.String(doc="What is copied.")
    what = param.String(doc="What it is called on the button.")

    _esm = """
    export function render({model}) {
      const button = document.createElement("button")
      const say = (words) => { button.textContent = words }
      button.type = "button"
      button.onclick = () => navigator.clipboard
        ? navigator.clipboard.writeText(model.text).then(() => say(`Copied the ${model.what}`))
        : say("This browser copies over HTTPS only: select the text")
      say(`Copy the ${model.what}`)
      return button
    }
    """
    _stylesheets: ClassVar[list[str]] = [
        """
        button { font: 500 0.8125rem Roboto, sans-serif; padding: 0.4rem 0.8rem; cursor: pointer; color: inherit;
                 background: none; border: 1px solid currentColor; border-radius: 4px; opacity: 0.85; }
        button:hover { opacity: 1; }
        button:focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
        """
    ]


def html(content: str, *, width: int | None = None) -> pn.pane.HTML:
    """HTML in the style of the page, as wide as there is room unless told; what comes from people must be escaped."""
    room = {"sizing_mode": "stretch_width"} if width is None else {"width": width}
    return pn.pane.HTML(content, stylesheets=[_STYLE], **room)
