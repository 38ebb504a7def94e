"""Markdown that stays what it says, whatever the names in it are."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What makes markup of text: links, pictures and bare addresses, entities, code, emphasis, formulas,
# cells; at the start of a line a heading, a list, a rule or a quotation. An interval of numbers in
# brackets makes none.
_MARKUP = re.compile(
    r"[\\`*|~$]|\[(?![\d.,–+ -]+\](?![(\[:]))|&(?=#|\w+;)|(?<=\w):(?=//)|(?<=\bwww)\."
    r"|(?<![a-zA-Z\d])_|_(?![a-zA-Z\d])|^[#+=>-]|(?<=^\d)[.)](?= )|(?<=^\d\d)[.)](?= )",
    re.ASCII,
)
# GitHub looks for addresses of mail, ``mailto:`` and ``xmpp:`` in what it has unescaped, by the @;
# a word joiner before it, which has no width, ends the search. After a <, it leaves no tag to any
# renderer, also to those that let no backslash stand before it.
_MAIL = re.compile(r"(?<=[\w.+-])@(?=\w)")
_TAG = re.compile(r"<(?=[a-zA-Z/!?])")
_JOINER = "\u2060"


def markdown_table(
    columns: Sequence[str], lines: Sequence[Sequence[str]], first_number: int
) -> str:
    """A table whose columns line up in the source too."""
    cells = [[safe_text(cell) for cell in line] for line in (columns, *lines)]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(columns))]
    rule = [
        "-" * width if i < first_number else "-" * (width - 1) + ":"
        for i, width in enumerate(widths)
    ]
    written = [
        [
            cell.ljust(width) if i < first_number else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in cells
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [written[0], rule, *written[1:]])


def safe_text(value: str) -> str:
    """Text that stays one line, and text, anywhere in Markdown: no link, no picture, no markup.

    Backslashes make it so, which also a reader without a renderer understands.
    """
    line = _MARKUP.sub(lambda found: f"\\{found[0]}", " ".join(value.split()))
    return _TAG.sub(f"<{_JOINER}", _MAIL.sub(f"{_JOINER}@", line))


def code_block(code: str, language: str) -> str:
    """Code as it is, in a fence that nothing in it ends."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", code)), 3)
    return f"{fence}{language}\n{code}\n{fence}"
