"""Bars in SVG, which a page, a slide and a Markdown reader show alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from edgeclf.reporting.text import duration


def chart(
    rows: Mapping[str, Mapping[str, float | None]], parts: Mapping[str, tuple[str, str]], *,
    stacked: bool, width: int = 760,
) -> str:  # fmt: skip
    """Bars in SVG, in ms; what is not known is left out.

    Args:
        rows: Of each bar its label and its parts.
        parts: Of each part its name and colour.
        stacked: Whether parts follow each other, or begin at 0 one below the other.
        width: In the units of the picture, of which a letter has about 8.
    """
    left, step = 185, 46
    known = {
        label: {name: value for name in parts if (value := row.get(name)) is not None}
        for label, row in rows.items()
    }
    most = max((sum if stacked else max)(row.values()) for row in known.values())
    scale = (width - left - 90) / most
    used = [name for name in parts if any(name in row for row in known.values())]
    height = step * len(rows) + 26 * math.ceil(len(used) / 3) + 30
    found = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
             'font-family="DejaVu Sans, Arial, sans-serif" font-size="14" role="img" '
             'aria-label="Bars of milliseconds; the figures are in the tables">',
             f'<rect width="{width}" height="{height}" fill="#ffffff"/>']  # fmt: skip
    for index, (label, row) in enumerate(known.items()):
        top = 12 + index * step
        found.append(_text(left - 10, top + 20, label, "end"))
        x = float(left)
        thick = 28 if stacked else 28 / max(1, len(row))
        for order, (name, value) in enumerate(row.items()):
            y = top if stacked else top + order * thick
            found.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.5, value * scale):.1f}" '
                         f'height="{thick - 1:.1f}" fill="{parts[name][1]}"/>')  # fmt: skip
            if stacked:
                x += value * scale
            else:
                found.append(_text(left + value * scale + 6, y + 12, duration(value), "start", 12))
        if stacked:
            found.append(_text(x + 8, top + 20, duration(sum(row.values())), "start"))
    for index, name in enumerate(used):
        x, y = left + (index % 3) * 185, step * len(rows) + 26 + 24 * (index // 3)
        found.append(f'<rect x="{x}" y="{y - 11}" width="12" height="12" fill="{parts[name][1]}"/>')
        found.append(_text(x + 18, y, parts[name][0], "start", 13))
    return "\n".join([*found, "</svg>"]) + "\n"


def _text(x: float, y: float, words: str, anchor: str, points: int = 14) -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{points}" '
            f'fill="#1c1c22">{escape(words)}</text>')  # fmt: skip
