"""Checks that the built wheel and sdist hold what they should, and nothing else."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

WHEEL_LIMIT_BYTES = 200_000
NEEDED_IN_WHEEL = {
    "edgeclf/__init__.py",
    "edgeclf/py.typed",
    "edgeclf/runtimes/litert.py",
    "edgeclf/converters/tflite.py",
    "edgeclf/reporting/template.html.j2",
}
NEEDED_IN_SDIST = {
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "edgeclf/py.typed",
    "examples/mugs/labels.txt",
    "examples/mugs/train/white/000.jpg",
    "tests/test_public_names.py",
}
LINKS = {"converters": "edgeclf/converters", "runtimes": "edgeclf/runtimes"}


def wheel_problems(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    problems = [f"{path.name} lacks {name}" for name in sorted(NEEDED_IN_WHEEL - names)]
    roots = {name.partition("/")[0] for name in names}
    problems += [
        f"{path.name} installs {root} beside edgeclf"
        for root in sorted(roots)
        if root != "edgeclf" and not root.endswith(".dist-info")
    ]
    if path.stat().st_size > WHEEL_LIMIT_BYTES:
        problems.append(f"{path.name} has {path.stat().st_size} bytes, over {WHEEL_LIMIT_BYTES}")
    return problems


def sdist_problems(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        members = {m.name.partition("/")[2]: m for m in archive.getmembers()}
    problems = [f"{path.name} lacks {name}" for name in sorted(NEEDED_IN_SDIST - set(members))]
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
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    problems = wheel_problems(wheel) + sdist_problems(sdist)
    print("\n".join(problems) or f"{wheel.name} and {sdist.name} hold what they should")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
