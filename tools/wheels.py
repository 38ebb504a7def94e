"""Which wheel holds what of `edgeclf/`: said here alone, for the build, its check and the tests.

A folder that is not listed belongs to the device. The modules beside the folders are verbs and
what calls them: each is in the wheel whose folders it imports.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

FOLDERS = {
    # What a device needs only if it updates itself.
    "fleet": ("fleet",),
    "workstation": (
        "options", "networks", "comparison", "converters", "reporting", "training",
    ),
    # The registry is asked from both sides: by who registers and promotes, and by who serves. Who
    # publishes to devices asks it as well.
    "server": ("registry", "publishing", "monitoring", "tables", "service"),
    "web": ("web",),
}  # fmt: skip
# The wheels that one needs beside the device's: a publisher and a device speak of the same orders.
NEEDS = {"server": ("fleet",)}
DEVICE = "device"
_PACKAGE = Path(__file__).resolve().parents[1] / "edgeclf"


def contents(wheel: str, package: Path = _PACKAGE) -> list[Path]:
    """The folders and modules at the top of the package that one wheel holds."""
    return [
        path
        for path in sorted(package.iterdir())
        if not path.name.startswith((".", "__pycache__")) and wheel_of(path) == wheel
    ]


def wheel_of(path: Path) -> str:
    """The wheel that a folder, or a file beside the folders, is in.

    Raises:
        ValueError: It is a module that imports from two wheels, neither of which needs the other.
    """
    if path.suffix != ".py":
        return _of_folder(path.name)
    top = f"{path.parent.name}."
    imported = _imports().imports_of(top + path.stem, path.parent) if path.stem[0] != "_" else ()
    wheels = {_of_imported(name.removeprefix(top), path.parent) for name in imported} - {DEVICE}
    wheels -= {needed for wheel in wheels for needed in NEEDS.get(wheel, ())}
    if len(wheels) > 1:
        raise ValueError(f"{path.name} imports from {' and '.join(sorted(wheels))}: one is enough")
    return next(iter(wheels), DEVICE)


def _of_imported(name: str, package: Path) -> str:
    folder, _, rest = name.partition(".")
    module = package / f"{folder}.py"
    return wheel_of(module) if not rest and module.is_file() else _of_folder(folder)


def _of_folder(name: str) -> str:
    return next((wheel for wheel, names in FOLDERS.items() if name in names), DEVICE)


@cache
def _imports() -> ModuleType:
    """`edgeclf.system.imports` from this checkout, without the package around it."""
    spec = importlib.util.spec_from_file_location("imports", _PACKAGE / "system" / "imports.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
