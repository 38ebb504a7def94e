"""Words for people: a number of things, and names that may come from anywhere."""

from __future__ import annotations

import math
from typing import Any, TextIO

_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def counted(number: int, thing: str) -> str:
    """A number of things, as ``1 thread`` or ``4 threads``.

    Args:
        number: How many.
        thing: What they are, in the singular.
    """
    return f"{number:,} {thing}{'s' * (number != 1)}"


def printable(text: str) -> str:
    """The text without what would steer a terminal; labels and layers may be called anything."""
    return "".join(c if c.isprintable() or _is_byte(c) else repr(c)[1:-1] for c in text)


def _is_byte(letter: str) -> bool:
    """Whether it stands for a byte of a file's name that is no text: see "surrogateescape"."""
    return "\udc80" <= letter <= "\udcff"


def json_line(document: Any, stream: TextIO | None) -> str:
    """JSON on one line, with its letters as they are where a stream can have them."""
    import json  # not for `--help`, which it would slow

    text = json.dumps(document, ensure_ascii=False)
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeError:
        return json.dumps(document)
    return text


def csv_cell(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula; numbers stay, one that is none is empty.

    A text that begins like a formula gets an apostrophe in front, as OWASP advises.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value
