"""Pages that need nothing from outside: one style, tables, and what is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1b1f23; --faint: #57606a;
  --line: #d0d7de; --panel: #f6f8fa; --bar: #00897b; --bad: #a40e26; }
@media (prefers-color-scheme: dark) { :root { --ground: #0d1117; --text: #e6edf3;
  --faint: #9da7b1; --line: #30363d; --panel: #161b22; --bar: #4db6ac; --bad: #ff8f8f; } }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; background: var(--ground);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.faint { color: var(--faint); } .bad { color: var(--bad); font-weight: 600; }
.cannot { background: var(--panel); border: 1px solid var(--line); border-radius: .4rem;
  padding: .6rem; margin: .5rem 0; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; font-weight: 400; vertical-align: middle;
  overflow-wrap: break-word; }
th { color: var(--faint); } td.number { font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; min-width: 8rem; max-width: 20rem; height: auto; }
svg .ground { fill: var(--panel); } svg .bar { fill: var(--bar); } svg .over { fill: var(--bad); }
svg line, svg polyline { stroke: var(--text); stroke-width: 2; fill: none; }
@media (max-width: 40rem) { tr { display: grid; padding: .4rem 0;
  border-bottom: 1px solid var(--line); } tr.head { display: none; }
  td:not([data-head=""])::before { content: attr(data-head) " "; color: var(--faint); } }
"""


def to_document(title: str, body: str) -> str:
    """A whole page.

    Args:
        title: Plain text.
        body: HTML.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{body}</body></html>\n"
    )


class Html(str):
    """What is not to be escaped."""

    __slots__ = ()


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table; its cells are texts, or `Html`."""
    heads = list(heads)
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        "<tr>" + "".join(
            f'<td data-head="{escape(text)}">'
            f"{cell if isinstance(cell, Html) else escape(str(cell))}</td>"
            for text, cell in zip(heads, row, strict=True)
        ) + "</tr>"
        for row in rows
    )  # fmt: skip
    return f'<table><tr class="head">{head}</tr>{body}</table>'
