"""Checks that what an environment runs is what the wheels in dist hold.

    python tools/check_installed.py .venv dist

A build of the same version may have been installed before, here or from an installer's cache; the
tests would then pass or fail for another state of the code.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path


def packages(environment: Path) -> Path:
    """The folder into which an environment's packages are installed."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    python = environment / "bin" / "python"
    return Path(subprocess.check_output([python, "-c", ask], text=True).strip())


def differing(wheel: Path, installed: Path) -> list[str] | None:
    """The files that are not as the wheel has them; None if no version of it is installed."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        record = next(name for name in names if name.endswith(".dist-info/RECORD"))
        project = record.partition("-")[0]
        if not any(installed.glob(f"{project}-*.dist-info")):
            return None
        if not (installed / record).is_file():
            return [record]
        names.remove(record)  # an installer writes its own
        paths = {name: installed / name for name in names}
        return [
            name
            for name, path in paths.items()
            if not path.is_file() or path.read_bytes() != archive.read(name)
        ]


def main() -> int:
    environment, dist = map(Path, sys.argv[1:])
    installed = packages(environment)
    found = {wheel.name: differing(wheel, installed) for wheel in sorted(dist.glob("*.whl"))}
    wrong = [f"{name}: {file}" for name, files in found.items() for file in files or ()]
    if all(files is None for files in found.values()):
        wrong = [f"{environment}: none of the wheels in {dist} is installed"]
    for line in wrong:
        print(f"not as built: {line}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
