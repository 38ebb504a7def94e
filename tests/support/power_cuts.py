"""Power cuts and full disks at every write of an update; run as a program of its own, as it forks.

``python power_cuts.py SCENE``, SCENE being JSON: ``folder`` of a device before the update, ``good``
hashes that may run after a fault, ``end`` the hash that runs in the end, ``uptime_s`` to pretend,
``every`` how many calls to leave out between two. Prints JSON: the calls, and what was wrong.
"""

from __future__ import annotations

import gc
import json
import os
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
from support.faults import run_apart, run_until

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


def main() -> int:
    """Reads a scene and goes through its writes."""
    asked = json.loads(sys.argv[1])
    template = Path(asked["folder"])
    # In memory, where there is such a place: an fsync takes no time there.
    place = tempfile.mkdtemp(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    work = Path(place, "work")
    good, end = {*asked["good"]}, asked["end"]
    boot, up_s = folders.boot_time()
    folders.boot_time = lambda: (boot, up_s + asked["uptime_s"])
    gc.freeze()  # which a fork would copy for nothing
    begun = time.process_time()

    def fresh() -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(template, work, symlinks=True)

    def once() -> int:
        return run_apart(lambda: update(work))

    fresh()
    whole = run_until(lambda: update(work), at=None)
    assert whole.code == 0 and running(work) == end, (whole, running(work), end)
    left = files(work)
    problems = []
    for full in (False, True):
        for at in range(0, len(whole.calls) + 1, asked.get("every", 1)):
            fresh()
            run_until(lambda at=at, full=full: update(work), at, full=full)  # type: ignore[misc]
            if problem := problem_of(work, good, end, once, left):
                name = [*whole.calls, "end"][at]
                fault = "full disk from" if full else "power cut before"
                problems.append(f"{fault} call {at} ({name}): {problem}")
    shutil.rmtree(place)
    print(json.dumps({"calls": whole.calls, "problems": problems,
                      "cpu_s": time.process_time() - begun}))  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
