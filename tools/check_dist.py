"""Checks that the built wheels and sdist hold what they should, and nothing else."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Set
from pathlib import Path

from wheels import DEVICE, FOLDERS, contents

PACKAGE = Path(__file__).resolve().parents[1] / "edgeclf"
# A device stores its own wheel and, if it updates itself, the fleet's.
LIMIT_BYTES = {"device": 310_000, "fleet": 60_000}
# Some of each, in case that the listing of folders itself goes wrong.
NEEDED_IN_WHEELS = {
    "device": {"__init__.py", "py.typed", "verify.py", "image/__init__.py", "runtimes/litert.py"},
    "fleet": {"update.py", "fleet/folder.py"},
    "workstation": {"train.py", "converters/tflite.py", "reporting/template.html.j2"},
    "server": {"serve.py", "ui.py", "service/server.py", "monitoring/metrics.py"},
    "web": {"web/static/index.html", "web/static/engine/worker.js"},
}
NEEDED_IN_SDIST = {
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    ".dockerignore",
    "deploy/Dockerfile",
    "edgeclf/py.typed",
    "examples/mugs/labels.txt",
    "examples/mugs/train/white/000.jpg",
    "tests/house/test_public_names.py",
    "tools/hatch_build.py",
    "tools/wheels.py",
    "fleet/pyproject.toml",
    "workstation/pyproject.toml",
    "server/pyproject.toml",
    "web/pyproject.toml",
    "web/engines.json",
    "web/licenses/NOTICES.md",
}
LINKS = {
    "converters": "edgeclf/converters",
    "runtimes": "edgeclf/runtimes",
    "fleet/LICENSE": "../LICENSE",
    "workstation/LICENSE": "../LICENSE",
    "server/LICENSE": "../LICENSE",
    "web/LICENSE": "../LICENSE",
}


def wheel_files(path: Path) -> set[str]:
    """What a wheel installs besides its own record, relative to the folder of packages."""
    with zipfile.ZipFile(path) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def folder_files(wheel: str) -> set[str]:
    """What tools/wheels.py lets a wheel hold, named alike."""
    return {
        f"edgeclf/{path.relative_to(PACKAGE)}"
        for top in contents(wheel)
        for path in ([top] if top.is_file() else top.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def wheel_problems(path: Path, wheel: str) -> list[str]:
    files, expected = wheel_files(path), folder_files(wheel)
    needed = {f"edgeclf/{name}" for name in NEEDED_IN_WHEELS.get(wheel, ())}
    return [
        *lacking(path, files, expected | needed),
        *(f"{path.name} holds {name}, which is not its own" for name in sorted(files - expected)),
    ]


def device_problems(path: Path, limit_bytes: int) -> list[str]:
    problems = []
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        if b"file://" in archive.read(name):
            problems.append(f"{path.name} names a folder here: see build_dist.py")
    size_bytes = path.stat().st_size
    if size_bytes > limit_bytes:
        problems.append(f"{path.name} has {size_bytes} bytes, over {limit_bytes}")
    return problems


def lacking(path: Path, names: Set[str], needed: Set[str]) -> list[str]:
    return [f"{path.name} lacks {name}" for name in sorted(needed - names)]


def sdist_problems(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        members = {m.name.partition("/")[2]: m for m in archive.getmembers()}
    problems = lacking(path, members.keys(), NEEDED_IN_SDIST)
    for link, target in LINKS.items():
        member = members.get(link)
        if member is None:
            inside = [name for name in members if name.startswith(f"{link}/")]
            if not inside:
                problems.append(f"{path.name} lacks the link {link}")
        elif not member.issym() or member.linkname != target:
            problems.append(f"{path.name}: {link} is not a link to {target}")
    return problems


def main() -> int:
    folder = Path(sys.argv[1])
    (sdist,) = folder.glob("edgeclf-*.tar.gz")
    problems, built = sdist_problems(sdist), [sdist]
    for wheel in (DEVICE, *FOLDERS):
        found = list(folder.glob(f"edgeclf{'' if wheel == DEVICE else f'_{wheel}'}-*.whl"))
        if len(found) == 1:
            problems += wheel_problems(found[0], wheel)
        elif found or folder_files(wheel):
            problems.append(f"{folder} holds {len(found)} wheels of the {wheel}; expected one")
        if found and wheel in LIMIT_BYTES:
            problems += device_problems(found[0], LIMIT_BYTES[wheel])
        built += found
    sizes = ", ".join(f"{path.name} ({path.stat().st_size / 1e3:.0f} kB)" for path in built)
    print("\n".join(problems) or f"{sizes} hold what they should")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
