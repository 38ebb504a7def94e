"""One process a run folder: a lock that ends with the process, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TextIO
from weakref import WeakValueDictionary

from edgeclf.errors import TrainingError
from edgeclf.progress import say

NAME = "lock"  # in the folder; it stays there, as removing it would let two processes in
_held: WeakValueDictionary[Path, TextIO] = WeakValueDictionary()


def hold(folder: Path) -> TextIO:
    """Locks a folder for this process, until the file returned is closed or forgotten.

    A run that an earlier call in this process holds is given the same lock: what is kept out are
    other processes.

    Args:
        folder: Made where it is not there.

    Raises:
        TrainingError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.resolve() / NAME
    file = _held.get(path)
    if file is not None and not file.closed:
        return file
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read() or "unknown"
        file.close()
        raise TrainingError(
            f"Another process, {holder}, trains in {folder}. Wait until it has ended, or "
            "give another folder with --out."
        ) from None
    except OSError as exc:  # a file system without locks
        say(f"{folder} cannot be locked ({exc}): see to it that no other run uses it")
    file.truncate(0)
    file.write(f"{os.getpid()} on {os.uname().nodename}")
    file.flush()
    _held[path] = file
    return file
