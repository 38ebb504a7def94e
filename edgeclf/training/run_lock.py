"""One process a run folder: a lock that ends with the process, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from weakref import WeakValueDictionary

from edgeclf.errors import TrainingError
from edgeclf.system.progress import log

NAME = "lock"  # in the folder; it stays there, as removing it would let two processes in


class RunLock:
    """A lock on a folder, held until it is closed, forgotten, or the process ends.

    Args:
        path: The file that stands for the folder; it names the process that holds it.

    Raises:
        TrainingError: Another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._handle, 200).decode(errors="replace")
            self.close()
            raise TrainingError(
                f"Another process, {holder or 'unknown'}, trains in {path.parent}. Wait until it "
                "has ended, or give another folder with --out."
            ) from None
        except OSError as exc:  # a file system without locks
            log(f"{path.parent} cannot be locked ({exc}): see to it that no other run uses it")
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()} on {os.uname().nodename}".encode(), 0)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._handle < 0

    def close(self) -> None:
        """Lets other processes in."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __del__(self) -> None:
        self.close()


_held: WeakValueDictionary[Path, RunLock] = WeakValueDictionary()


def acquire(folder: Path) -> RunLock:
    """Locks a folder for this process.

    Calls in one process share a lock: what is kept out are other processes.

    Args:
        folder: Made where it is not there.

    Raises:
        TrainingError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.resolve() / NAME
    lock = _held.get(path)
    if lock is None or lock.closed:
        lock = _held[path] = RunLock(path)
    return lock
