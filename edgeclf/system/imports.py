"""What modules of this package import, read from their sources without importing anything.

What is decided by it: which results a change of the code makes out of date, which wheel a verb
belongs to, and (in the tests) that the rooms import one another in one order only. As the build
reads it too, it needs nothing but the standard library.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
_NAME = re.compile(r"(\w+(?:\.\w+)+)(?::\w+)?")


@cache
def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """The files of a package's modules by their dotted names, ``edgeclf.runtimes.fake``."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports_of(name: str, package: Path = PACKAGE) -> frozenset[str]:
    """The modules of its own package that a module imports.

    Imports inside functions count, those for type checkers alone do not. A string that is a
    module's name or "module:Class" counts too: so plugins and child processes are named.

    Args:
        name: The module's dotted name.
        package: The folder of the package.
    """
    known = modules(package)
    path = known[name]
    inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in _executed(ast.parse(path.read_bytes())):
        for candidates in _named(node, inside):
            found.update([each for each in candidates if each in known][:1])
    return frozenset(found - {name})


def closure(*names: str, without: Collection[str] = (), package: Path = PACKAGE) -> frozenset[str]:
    """The modules named, all that they import, all that those import, and so on.

    The folders above a module count as imported by it, but for the package's own `__init__`, which
    only looks names up.

    Args:
        names: Dotted names.
        without: Modules and folders that are left out, with what only they import.
        package: The folder of the package.
    """
    known = modules(package)
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        left_out = any(f"{name}.".startswith(f"{each}.") for each in without)
        if name in found or name not in known or "." not in name or left_out:
            continue
        found.add(name)
        waiting += [*imports_of(name, package), name.rpartition(".")[0]]
    return frozenset(found)


def sources_of(*names: str, without: Collection[str] = (), package: Path = PACKAGE) -> list[Path]:
    """Files that decide what modules compute: those of their `closure`, and data beside these."""
    known = modules(package)
    code = {known[name] for name in closure(*names, without=without, package=package)}
    folders = {path.parent for path in code} - {package}
    data = (path for folder in folders for path in folder.iterdir() if path.suffix != ".py")
    return sorted([*code, *(path for path in data if path.is_file())])


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """A tree's nodes without the blocks for type checkers."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and _last_word(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _last_word(node: ast.AST) -> str | None:
    return getattr(node, "attr", getattr(node, "id", None))


def _named(node: ast.AST, inside: str) -> Iterator[tuple[str, ...]]:
    """What a node may import: for each name, the modules that it may mean, likeliest first."""
    if isinstance(node, ast.Import):
        yield from ((alias.name,) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = inside.split(".")[: len(inside.split(".")) + 1 - node.level] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        yield from ((f"{base}.{alias.name}", base) for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        match = _NAME.fullmatch(node.value)
        if match:
            yield (match[1],)
