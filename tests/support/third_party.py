"""Runtimes as an installed package would bring them."""

from __future__ import annotations

import os
from pathlib import Path


def bring_runtime(folder: Path, name: str, code: str) -> dict[str, str]:
    """Puts a package of one runtime into a folder.

    Args:
        folder: Where it goes.
        name: The runtime's.
        code: Of a module whose class `Runtime` it is.

    Returns:
        The environment in which processes know it.
    """
    information = folder / f"{name}-0.dist-info"
    information.mkdir(parents=True)
    (folder / f"{name}_runtime.py").write_text(code)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n")
    (information / "entry_points.txt").write_text(
        f"[edgeclf.runtimes]\n{name} = {name}_runtime:Runtime\n"
    )
    before = filter(None, [os.environ.get("PYTHONPATH")])
    return {"PYTHONPATH": os.pathsep.join([str(folder), *before])}
