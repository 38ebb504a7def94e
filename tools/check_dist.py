"""Checks that the built wheels and sdist hold what they should, and nothing else."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Set
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEVICE_LIMIT_BYTES = 200_000
DEVICE = {"__init__.py", "py.typed", "classifier.py", "verify.py", "runtimes/litert.py"}
WORKSTATION = {"train.py", "converters/tflite.py", "reporting/template.html.j2"}
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
    "workstation/pyproject.toml",
}
LINKS = {
    "converters": "edgeclf/converters",
    "runtimes": "edgeclf/runtimes",
    "workstation/LICENSE": "../LICENSE",
}


def wheel_files(path: Path) -> set[str]:
    """What a wheel installs besides its own record, relative to the folder of packages."""
    with zipfile.ZipFile(path) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def wheel_problems(device: Path, workstation: Path) -> list[str]:
    of_device, of_workstation = wheel_files(device), wheel_files(workstation)
    both = of_device | of_workstation
    package = ROOT / "edgeclf"
    expected = {
        f"edgeclf/{path.relative_to(package)}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    problems = [
        *lacking(device, of_device, {f"edgeclf/{name}" for name in DEVICE}),
        *lacking(workstation, of_workstation, {f"edgeclf/{name}" for name in WORKSTATION}),
        *(f"neither wheel holds {name}" for name in sorted(expected - both)),
        *(f"a wheel installs {name}, which is not in edgeclf/" for name in sorted(both - expected)),
        *(f"both wheels hold {name}" for name in sorted(of_device & of_workstation)),
    ]
    with zipfile.ZipFile(device) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        if b"file://" in archive.read(name):
            problems.append(f"{device.name} names a folder here: see build_dist.py")
    size_bytes = device.stat().st_size
    if size_bytes > DEVICE_LIMIT_BYTES:
        problems.append(f"{device.name} has {size_bytes} bytes, over {DEVICE_LIMIT_BYTES}")
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
    (device,) = folder.glob("edgeclf-*.whl")
    (workstation,) = folder.glob("edgeclf_workstation-*.whl")
    (sdist,) = folder.glob("edgeclf-*.tar.gz")
    problems = wheel_problems(device, workstation) + sdist_problems(sdist)
    built = ", ".join(
        f"{path.name} ({path.stat().st_size / 1e3:.0f} kB)" for path in (device, workstation, sdist)
    )
    print("\n".join(problems) or f"{built} hold what they should")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
