"""What a device has to install: our wheel, what comes with it, and whether ARM has all of it.

Builds the wheel, asks pip what `edgeclf[litert]` brings beyond what the runtime itself needs, and
lets pip find wheels of everything for Linux aarch64 and CPython 3.10 to 3.13, without installing.
Then it installs edgeclf and each of its peers into an environment of its own, for `peers.py`, and
says how much larger than ours each is; one that is there already is kept. Needs a package index.

    python benchmarks/install_footprint.py
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

import environments
from environments import pip
from shared import ROOT, Figure, finish, parse

from edgeclf.system.progress import track

ALLOWED_KB = 300
OURS = {"edgeclf", "numpy", "pillow"}
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PLATFORMS = ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "manylinux_2_27_aarch64",
             "manylinux_2_28_aarch64")  # fmt: skip


def resolved(*requirements: str) -> set[str]:
    """The names of what pip would install into an empty environment."""
    report = pip("install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-",
                 *requirements)  # fmt: skip
    return {entry["metadata"]["name"].lower() for entry in json.loads(report)["install"]}


def installed(wheel: Path) -> list[Figure]:
    """Sizes of the environments of edgeclf and of its peers."""
    names = environments.REQUIREMENTS
    found = {name: environments.install(name, wheel)
             for name in track(names, "install the peers", len(names))}  # fmt: skip
    ours = found["edgeclf-litert"]
    if isinstance(ours, str):
        raise SystemExit(f"edgeclf[litert] cannot be installed: {ours}")
    figures = [
        Figure("installed: edgeclf[litert] with all that it needs", ours.size_bytes / 1e6, "MB",
               note=f"{len(ours.packages)} packages"),
    ]  # fmt: skip
    for name, other in found.items():
        if isinstance(other, str):
            print(f"{name} could not be installed: {other}")
        elif other is not ours:
            figures.append(
                Figure(f"installed: {name} / edgeclf[litert]", other.size_bytes / ours.size_bytes,
                       note=f"{other.size_bytes / 1e6:.0f} MB, {len(other.packages)} packages"),
            )  # fmt: skip
    return figures


def main() -> int:
    args = parse(__doc__)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        pip("wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT))
        (wheel,) = Path(folder).glob("edgeclf-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        figures.append(
            Figure("our wheel", wheel.stat().st_size / 1e3, "kB", at_most=ALLOWED_KB,
                   note=f"{unpacked / 1e3:.0f} kB unpacked"),
        )  # fmt: skip
        more = resolved(f"{wheel}[litert]") - resolved("ai-edge-litert") - OURS
        figures.append(
            Figure("packages of edgeclf[litert] beyond numpy, Pillow and the runtime's needs",
                   len(more), at_most=0, note=" ".join(sorted(more))),
        )  # fmt: skip
        for python in PYTHONS:
            target = Path(folder) / python
            platforms = [word for name in PLATFORMS for word in ("--platform", name)]
            pip("download", "--quiet", "--only-binary", ":all:", "--python-version", python,
                *platforms, "--dest", str(target), f"{wheel}[litert]")  # fmt: skip
            found = sorted(target.glob("*.whl"))
            size_mb = sum(path.stat().st_size for path in found) / 1e6
            figures.append(
                Figure(f"wheels for Linux aarch64, CPython {python}: all found", len(found),
                       at_least=4, note=f"{size_mb:.0f} MB: "
                       + " ".join("-".join(path.name.split("-")[:2]) for path in found)),
            )  # fmt: skip
        figures += installed(wheel)
    method = "pip's resolver, without installing; for sizes, environments that hold nothing else"
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
