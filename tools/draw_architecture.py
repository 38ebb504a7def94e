"""Draws docs/images/architecture.svg: the rooms of edgeclf/ and every import between them.

python tools/draw_architecture.py            writes the picture
python tools/draw_architecture.py --check    exit code 1 if it is not what the imports say

A room is a folder of edgeclf/, or one of the modules beside them; `verbs` stands for the command
line. The picture is a staircase: each row is a room, and a dot in it is a room that it imports.
What an import is, the order of rooms and the wheels are read from where they are said.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import wheels

from edgeclf.system.imports import imports_of, modules

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "edgeclf"
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
ORDER_TEST = ROOT / "tests" / "house" / "test_imports.py"  # which says the order, and holds it

VERBS = "verbs"
_VERBS_TEXT = "The command line, and one thin module a verb."
_LAST_OF_CORE = "inference"

# Fill, and the stronger colour of the dots; the names on a fill are dark in both schemes.
COLORS = {
    "the device's core": ("#99e2d3", "#0d9488"),
    "device": ("#a9d4f5", "#2b88cc"),
    "fleet": ("#c3cdf9", "#5468d4"),
    "workstation": ("#f6d69a", "#c9850f"),
    "server": ("#d9c2f2", "#8e5bd0"),
    "web": ("#f7bfd2", "#cf4d7f"),
    "the command line, in parts": ("#d3d8df", "#76828f"),
}
_INK, _GREY, _LINE = "#13232f", "#7d8a97", "#8795a133"
_ROW, _CELL, _HEAD, _LEGEND, _MARGIN = 38, 26, 92, 34, 8
_CHARACTER = 5.8  # width of one of the purposes' letters


@dataclass(frozen=True)
class Room:
    """A room: its purpose in a sentence, its size, and what it imports.

    Attributes:
        name: Of the folder or module.
        text: The first line of its docstring.
        modules: How many.
        wheel: That installs it, a key of `COLORS`.
        imports: The rooms that it imports, itself among them.
    """

    name: str
    text: str
    modules: int
    wheel: str
    imports: frozenset[str]


def order() -> tuple[str, ...]:
    """The order of imports, as the test that holds it says it."""
    for node in ast.parse(ORDER_TEST.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ORDER":
            return tuple(ast.literal_eval(node.value))
    raise SystemExit(f"{ORDER_TEST.name} has no ORDER.")


def rooms() -> list[Room]:
    """All rooms that there are, in the order of imports."""
    found: dict[str, list[str]] = {}
    for name in modules(PACKAGE):
        found.setdefault(room_of(name), []).append(name)
    places = order()
    core = places[: places.index(_LAST_OF_CORE) + 1]
    return [
        Room(
            name,
            purpose(name),
            len(found[name]),
            wheel_of(name, core),
            frozenset(room_of(each) for one in found[name] for each in imports_of(one, PACKAGE)),
        )
        for name in places
        if name in found
    ]


def room_of(module: str) -> str:
    """The room that a module belongs to: a folder, or what others import beside them."""
    first = [*module.split("."), VERBS][1]
    return first if first in ("errors", "image") or (PACKAGE / first).is_dir() else VERBS


def wheel_of(name: str, core: tuple[str, ...]) -> str:
    """The colour of a room."""
    if name == VERBS:
        return "the command line, in parts"
    return "the device's core" if name in core else wheels.wheel_of(source_of(name))


def source_of(name: str) -> Path:
    folder = PACKAGE / name
    return folder if folder.is_dir() else folder.with_suffix(".py")


def purpose(name: str) -> str:
    """What a room says of itself in the first line of its docstring."""
    if name == VERBS:
        return _VERBS_TEXT
    source = source_of(name)
    module = source / "__init__.py" if source.is_dir() else source
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    return (text or "").splitlines()[0]


def draw(drawn: list[Room]) -> str:
    """The picture, as SVG that reads on light and on dark pages."""
    names = round(max(len(room.text) for room in drawn) * _CHARACTER) + 4 * _MARGIN
    width = names + len(drawn) * _CELL + 4 * _MARGIN
    height = _HEAD + len(drawn) * _ROW + _LEGEND + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="system-ui, sans-serif" font-size="13">',
        "<title>The rooms of edgeclf in the order of imports, and what each imports</title>",
    ]
    for column, room in enumerate(drawn):
        x, y = names + (column + 0.5) * _CELL + 4, _HEAD - 8
        parts.append(f'<text transform="translate({x:g} {y}) rotate(-60)" '
                     f'fill="{_GREY}">{room.name}</text>')  # fmt: skip
    for row in range(len(drawn)):
        parts += draw_row(row, drawn, names)
    x, y = _MARGIN, height - _MARGIN
    for wheel in dict.fromkeys(room.wheel for room in drawn):
        parts.append(f'<circle cx="{x + 6}" cy="{y - 9}" r="6" fill="{COLORS[wheel][1]}"/>')
        parts.append(f'<text x="{x + 18}" y="{y - 4}" fill="{_GREY}">{wheel}</text>')
        x += 50 + 7 * len(wheel)
    return "\n".join([*parts, "</svg>", ""])


def draw_row(row: int, drawn: list[Room], names: int) -> Iterator[str]:
    """A room's name and purpose, and a dot for each room that it imports.

    Args:
        row: Which room.
        drawn: All of them.
        names: Width of the part with the names.
    """
    room = drawn[row]
    fill, _ = COLORS[room.wheel]
    top = _HEAD + row * _ROW
    middle = top + _ROW / 2
    yield (f'<rect x="{_MARGIN}" y="{top + 2}" width="{names - 2 * _MARGIN}" '
           f'height="{_ROW - 4}" rx="5" fill="{fill}"/>')  # fmt: skip
    yield (f'<text x="{_MARGIN + 10}" y="{top + 17}" fill="{_INK}" font-weight="600">{room.name}'
           f'</text><text x="{names - _MARGIN - 10}" y="{top + 17}" fill="{_INK}" font-size="11" '
           f'text-anchor="end">{count(room.modules)}</text>')  # fmt: skip
    yield (f'<text x="{_MARGIN + 10}" y="{top + 31}" fill="{_INK}" font-size="11">'
           f"{escape(room.text)}</text>")  # fmt: skip
    end = names + (row + 1) * _CELL
    yield f'<path d="M{names} {top + _ROW}H{end}V{top}" fill="none" stroke="{_LINE}"/>'
    for column, other in enumerate(drawn[: row + 1]):
        x, y = names + column * _CELL, middle
        if column == row:
            yield (f'<rect x="{x + 7}" y="{y - 6}" width="12" height="12" rx="2" '
                   f'fill="{fill}" stroke="{COLORS[room.wheel][1]}"/>')  # fmt: skip
        elif other.name in room.imports:
            yield f'<circle cx="{x + 13}" cy="{y:g}" r="6" fill="{COLORS[other.wheel][1]}"/>'
        else:
            yield f'<circle cx="{x + 13}" cy="{y:g}" r="1.5" fill="{_GREY}" opacity="0.5"/>'


def count(modules: int) -> str:
    return f"{modules} module{'s' * (modules != 1)}"


def main() -> int:
    picture = draw(rooms())
    if sys.argv[1:] != ["--check"]:
        PICTURE.write_text(picture, encoding="utf-8")
        return 0
    if not PICTURE.exists() or PICTURE.read_text(encoding="utf-8") != picture:
        print(f"{PICTURE.relative_to(ROOT)} is out of date: run python tools/draw_architecture.py")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
