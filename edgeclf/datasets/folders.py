"""What of a folder is a photo, what its name is, and in which order: one rule for all."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeclf.errors import DataError

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif",
)  # fmt: skip
# What systems and their tools leave in folders of photos, beside what begins with a dot.
_CLUTTER = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r", "__macosx", "@eadir",
    "#recycle", "$recycle.bin", "system volume information", "lost+found", ".ipynb_checkpoints",
    ".ds_store",
}  # fmt: skip


def normal(name: str) -> str:
    """A name in Unicode's form NFC; a Mac's folders have the other one, NFD."""
    return unicodedata.normalize("NFC", name)


def is_clutter(name: str) -> bool:
    """Whether a file or folder of that name is a system's, and never anybody's photo."""
    return name.lower() in _CLUTTER or name.startswith("._")


def is_visible(name: str) -> bool:
    """Whether a file or folder of that name is looked at: it is neither hidden nor clutter."""
    return not name.startswith(".") and not is_clutter(name)


def is_photo(name: str) -> bool:
    """Whether a file is called like a photo that is looked at."""
    return is_visible(name) and name.lower().endswith(SUFFIXES)


def find_files(root: Path) -> list[Path]:
    """The visible files below a folder, whatever they are, sorted naturally.

    Linked folders are followed, and each folder is entered once, so a link into a circle ends. A
    link to nowhere is given like a file: who opens it learns what is wrong with it.

    Raises:
        DataError: A folder cannot be read.
    """
    found: list[Path] = []
    folders, entered = deque([root]), {*map(_identity, root.resolve().parents)}
    while folders:
        folder, below = folders.popleft(), []
        with reading(folder):
            if (identity := _identity(folder)) in entered:
                continue
            entered.add(identity)
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = folder / entry.name
                    if not is_visible(entry.name):
                        continue
                    if entry.is_file(follow_symlinks=False):
                        found.append(path)
                    elif path.is_dir():
                        below.append(path)
                    elif path.is_file() or entry.is_symlink():
                        found.append(path)
        folders += sorted(below, key=by_path)
    return sorted(found, key=by_path)


def find_folders(root: Path) -> list[Path]:
    """The visible folders in a folder, links to folders too, sorted naturally.

    Raises:
        DataError: It cannot be read.
    """
    with reading(root):
        folders = [path for path in root.iterdir() if is_visible(path.name) and path.is_dir()]
    return sorted(folders, key=by_path)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts numbers inside names by value; two different names never tie.

    Only 0 to 9 make numbers: to Python ``5²`` is made of digits too, but is none.
    """
    tidy = normal(name)
    parts = re.split("([0-9]+)", tidy.lower())
    values = (part.lstrip("0") for part in parts[1::2])
    key = [(-1, part) for part in parts]
    key[1::2] = [(len(value), value) for value in values]
    return [*key, (-2, tidy), (-2, name)]


def by_path(path: Path) -> list[tuple[int, str]]:
    """Sorts files by their natural key, alike on every system."""
    return natural_key(path.as_posix())


@contextmanager
def reading(path: Path, advice: str = "Check the path and who may read it.") -> Iterator[None]:
    """Raises what the system says about files and folders in the block as a `DataError`.

    Args:
        path: What is read, where the system does not name it.
        advice: What to do; it ends the message.
    """
    try:
        yield
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise DataError(f"Cannot read {exc.filename or path}: {reason}. {advice}") from exc


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
