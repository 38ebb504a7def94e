"""tools/wheels.py, which says what each wheel holds, as a module of the tests."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import REPOSITORY

_READ: dict[str, Any] = runpy.run_path(str(REPOSITORY / "tools" / "wheels.py"))
DEVICE: str = _READ["DEVICE"]
NEEDS: dict[str, tuple[str, ...]] = _READ["NEEDS"]
FOLDERS: dict[str, tuple[str, ...]] = _READ["FOLDERS"]
contents: Callable[..., list[Path]] = _READ["contents"]
wheel_of: Callable[[Path], str] = _READ["wheel_of"]
