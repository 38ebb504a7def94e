"""Power cuts and full disks at every write of an update; run as a program of its own, as it forks.

``python power_cuts.py SCENE``, SCENE being JSON: ``folder`` of a device before the update, ``good``
hashes that may run after a fault, ``end`` the hash that runs in the end, ``uptime_s`` to pretend,
``moments`` how many random ones instead of each call, ``full_disk`` whether disks fill up too.
Prints JSON: the calls, and what was wrong.
"""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tuf.ngclient  # noqa: F401

import edgeclf.fleet.http
import edgeclf.fleet.repository  # noqa: F401
from edgeclf.artifact import load_artifact
from edgeclf.errors import EdgeclfError
from edgeclf.fleet import folder as folders
from edgeclf.fleet.folder import Folder
from edgeclf.fleet.updating import Run
from edgeclf.system.files import sha256_of
from support.faults import kill_after, run_apart, run_until

_MEMORY = "/dev/shm"


def check(content: bytes, *_: Any) -> dict[str, Any]:
    """The seal alone: what the child does beyond that writes nothing."""
    load_artifact(content)
    return {}


def update(folder: Path) -> None:
    """One run; what it refuses is no crash."""
    try:
        Run(Folder(folder), check=check).go()
    except EdgeclfError as exc:
        print(exc, file=sys.stderr)


def running(folder: Path) -> str | None:
    """The hash of what runs, if it is whole."""
    path = Folder(folder).current()
    if path is None:
        return None
    load_artifact(path)
    return sha256_of(path)


def files(folder: Path) -> set[str]:
    """Every name in a device's folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def problem_of(
    folder: Path, good: set[str | None], end: str, then: Callable[[], int], whole: set[str]
) -> str | None:
    """What is wrong after a fault, and after the run that follows it."""
    try:
        found = running(folder)
    except EdgeclfError as exc:
        return f"half a model runs: {exc}"
    if found not in good:
        return f"{found} runs after the fault"
    if (code := then()) != 0:
        return f"the next run ended with {code}"
    if running(folder) != end:
        return f"{running(folder)} runs after the next run"
    left = files(folder) - whole
    return f"it left {sorted(left)}" if left else None


class Cuts:
    """Copies of a device's folder, each of which meets a fault.

    Args:
        asked: What the program was told.
        place: Where there is room for a copy.
    """

    def __init__(self, asked: dict[str, Any], place: Path) -> None:
        self._template, self._work = Path(asked["folder"]), place / "work"
        self._good, self._end = {*asked["good"]}, asked["end"]
        self._faults = (False, True) if asked.get("full_disk", True) else (False,)
        self.fresh()
        whole = run_until(self.update)
        assert whole.code == 0 and running(self._work) == self._end, whole
        self.calls = whole.calls
        self._left = files(self._work)

    def fresh(self) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._template, self._work, symlinks=True)

    def update(self) -> None:
        update(self._work)

    def problem(self) -> str | None:
        """See `problem_of`."""
        return problem_of(
            self._work, self._good, self._end, lambda: run_apart(self.update), self._left
        )

    def at_each_call(self) -> list[str]:
        """A power cut before each call, then a full disk from each."""
        problems = []
        for full in self._faults:
            for at, name in enumerate([*self.calls, "end"]):
                self.fresh()
                run_until(self.update, at, full=full)
                if problem := self.problem():
                    fault = "full disk from" if full else "power cut before"
                    problems.append(f"{fault} call {at} ({name}): {problem}")
        return problems

    def at_random(self, moments: int) -> list[str]:
        """A power cut at moments between the start of an update and a little after its end."""
        drawn, problems = random.Random(1), []
        took_s = min(self._timed() for _ in range(5))
        for number in range(moments):
            self.fresh()
            at_s = drawn.uniform(0, 1.2 * took_s)
            kill_after(self.update, at_s)
            if problem := self.problem():
                problems.append(f"moment {number} ({at_s * 1e3:.1f} ms): {problem}")
        return problems

    def _timed(self) -> float:
        self.fresh()
        begun = time.perf_counter()
        run_apart(self.update)
        return time.perf_counter() - begun


def main() -> int:
    """Reads a scene and goes through its faults."""
    asked = json.loads(sys.argv[1])
    boot, up_s = folders.boot_time()
    folders.boot_time = lambda: (boot, up_s + asked["uptime_s"])
    # In memory, where there is such a place: an fsync takes no time there.
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as place:
        gc.freeze()  # which a fork would copy for nothing
        cuts = Cuts(asked, Path(place))
        moments = asked.get("moments")
        problems = cuts.at_random(moments) if moments else cuts.at_each_call()
    print(json.dumps({"calls": cuts.calls, "problems": problems}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
