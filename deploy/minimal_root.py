"""Copies this Python, and what it loads, into an empty root: no shell, no package manager.

    python minimal_root.py /image /opt/edgeclf

It is run in the build of an image, by the very Python that is to be in it, with the folder of
packages that were installed for it. Everything keeps its path, so that what worked in the build
works in the image. Libraries are those that `ldd` finds for the interpreter, for the standard
library and for the packages; of Debian's packages, those that own a copied file are noted in
`var/lib/dpkg/status.d`, where scanners for known faults look.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

USER_ID = 10_001
# Of the standard library: what needs a display, what installs, what tests, what is only linked to.
UNUSED = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data",
          "site-packages", "dist-packages", "__pycache__"}  # fmt: skip
# Of the packages: their tests, what C code is compiled against, and scripts without a shell.
UNUSED_OF_PACKAGES = {"tests", "include", "bin", "__pycache__"}
# Of LiteRT, what its CPU interpreter does not load: accelerators that need their vendors' own
# libraries, their compiler, and one for browsers' graphics.
UNUSED_FILES = (
    "ai_edge_litert/vendors/",
    "ai_edge_litert/tools/",
    "ai_edge_litert/libLiteRtWebGpu",
)
ALSO = ("/etc/ld.so.cache", "/etc/os-release", "/etc/ssl/certs/ca-certificates.crt")
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x[0-9a-f]+\)$")
_MISSING = re.compile(r"(\S+) => not found")


class Root:
    """A root that is being filled.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: set[Path] = set()

    def add(self, path: Path) -> None:
        """Copies a file to its own path, with every link on the way there."""
        for part in (*reversed(path.parents), path):
            if part.is_symlink():
                self._copy(part)
                target = part.parent / part.readlink()
                self.add(Path(os.path.normpath(target / path.relative_to(part))))
                return
        self._copy(path)

    def _copy(self, path: Path) -> None:
        target = self.folder / path.relative_to("/")
        if path not in self.files:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target, follow_symlinks=False)
            self.files.add(path)

    def write(self, name: str, text: str) -> None:
        """Makes a file that the base does not have like that."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def used(folder: Path, unused: set[str]) -> Iterator[Path]:
    """The files below a folder that are not in a folder of one of those names."""
    for where, folders, names in os.walk(folder):
        folders[:] = [n for n in folders if n not in unused and not n.startswith("config-")]
        yield from (Path(where, name) for name in names if not name.endswith((".a", ".pyc")))


def interpreter() -> Iterator[Path]:
    """This Python by each of its names."""
    folder = Path(sys.executable).parent
    version = "{}.{}".format(*sys.version_info)
    for name in ("python", "python3", f"python{version}"):
        if (folder / name).exists():
            yield folder / name


def libraries(paths: Iterable[Path]) -> set[Path]:
    """The shared libraries that programs and libraries load.

    Raises:
        SystemExit: One of them is not there.
    """
    words = ["ldd", *(str(path) for path in paths)]
    text = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    if missing := sorted(set(_MISSING.findall(text))):
        raise SystemExit(f"the base lacks what the packages load: {', '.join(missing)}")
    return {Path(m[1]) for line in text.splitlines() if (m := _LIBRARY.search(line.strip()))}


def owners(files: Iterable[Path]) -> set[str]:
    """Debian's packages that those files are from; none on another system."""
    if shutil.which("dpkg-query") is None:
        return set()
    # Merged folders: what is in /usr/lib may have been installed as in /lib.
    # A folder, such as the link /lib, is in nearly every package.
    names = {
        name for file in files if not file.is_dir()
        for name in (str(file), str(file).removeprefix("/usr"))
    }  # fmt: skip
    found = subprocess.run(["dpkg-query", "-S", *sorted(names)], capture_output=True, text=True,
                           check=False)  # fmt: skip
    lines = (line.partition(": ")[0] for line in found.stdout.splitlines())
    return {name for line in lines if "diversion" not in line for name in line.split(", ")}


def fill(root: Root, packages: Path) -> None:
    """Copies everything."""
    programs = list(interpreter())
    library = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    files = [file for folder in library for file in used(folder, UNUSED)]
    files += [
        file for file in used(packages, UNUSED_OF_PACKAGES)
        if not str(file.relative_to(packages)).startswith(UNUSED_FILES)
    ]  # fmt: skip
    loaded = libraries([*programs, *(file for file in files if ".so" in file.suffixes)])
    outside = {path for path in loaded if not path.is_relative_to(packages)}
    also = [path for path in map(Path, ALSO) if path.exists()]
    for path in [*programs, *files, *sorted(outside), *also]:
        root.add(path)
    root.write("etc/passwd", f"root:x:0:0::/:/sbin/nologin\nedgeclf:x:{USER_ID}:{USER_ID}::/:/\n")
    root.write("etc/group", f"root:x:0:\nedgeclf:x:{USER_ID}:\n")
    for package in sorted(owners(root.files)):
        text = subprocess.run(["dpkg-query", "-s", package], capture_output=True, text=True,
                              check=True).stdout  # fmt: skip
        root.write(f"var/lib/dpkg/status.d/{package.partition(':')[0]}", text)
    temporary = root.folder / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    (root.folder / "models").mkdir()
    # The image is read-only: what is not compiled now would be compiled at every start.
    for folder in (*library, packages):
        compileall.compile_dir(
            root.folder / folder.relative_to("/"), stripdir=str(root.folder), prependdir="/",
            quiet=2, workers=0, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip


def main() -> int:
    folder, packages = Path(sys.argv[1]), Path(sys.argv[2])
    root = Root(folder)
    fill(root, packages)
    count = sum(path.is_file() for path in folder.rglob("*"))
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder} holds {count} files of {size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
