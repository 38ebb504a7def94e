"""Words for people: a number of things, and names that may come from anywhere."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """A number of things, as ``1 thread`` or ``4 threads``.

    Args:
        number: How many.
        thing: What they are, in the singular.
    """
    return f"{number:,} {thing}{'s' * (number != 1)}"


def printable(text: str) -> str:
    """The text without what would steer a terminal; labels and layers may be called anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
