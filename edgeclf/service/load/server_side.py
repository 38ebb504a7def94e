"""What a step took: the server's CPU time and memory, and how busy this machine was."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httptools

from edgeclf.errors import OptionError
from edgeclf.service.load.connection import Connection
from edgeclf.service.load.target import Target

_TIMEOUT_S = 5.0
_VALUE = r"^{}(?:\{{[^}}]*\}})? ([-+.\deE]+)"


@dataclass(frozen=True)
class Reading:
    """One look at the server.

    Attributes:
        cpu_s: CPU time of its process so far.
        rss_bytes: Memory that it holds.
        source: Where this is from.
    """

    cpu_s: float
    rss_bytes: int
    source: str


class ServerSide:
    """Looks at the server before and after a step.

    Args:
        target: The server; its ``/metrics`` is asked if there is such a route.
        pid: Of its process on this machine, which is looked at if there is none.

    Raises:
        OptionError: There is no process of that number, or it cannot be looked at.
    """

    def __init__(self, target: Target, pid: int | None = None) -> None:
        self._target = target
        self._pid = pid
        if pid is not None and _of_process(pid) is None:
            raise OptionError(
                f"--pid is {pid}, and /proc tells nothing of such a process; expected that of a "
                "server on this machine."
            )

    def read(self) -> Reading | None:
        """How it is now; None where nothing tells."""
        found = _of_metrics(fetch(self._target, "/metrics"))
        if found is None and self._pid is not None:
            found = _of_process(self._pid)
        return found


def used(before: Reading | None, after: Reading | None, answers: int,
         seconds: float) -> dict[str, Any] | None:  # fmt: skip
    """What was used between two looks; None where one is missing, or the process was restarted."""
    if before is None or after is None or after.cpu_s < before.cpu_s or not answers:
        return None
    cpu_s = after.cpu_s - before.cpu_s
    return {
        "cpu_ms_per_request": cpu_s * 1e3 / answers,
        "cpus_used": cpu_s / seconds,
        "rss_bytes": after.rss_bytes,
        "source": after.source,
    }


def fetch(target: Target, path: str) -> bytes:
    """What another route of the server answers; empty if it answers nothing in time."""
    try:
        connection = Connection(target.family, target.address)
    except OSError:
        return b""
    try:
        connection.socket.settimeout(_TIMEOUT_S)
        connection.begin(target.get(path))
        connection.write()
        while (answer := connection.read()) is None:
            pass
    except (OSError, httptools.HttpParserError):
        return b""
    finally:
        connection.close()
    return answer.body if answer.status == 200 else b""


def _of_metrics(text: bytes) -> Reading | None:
    words = text.decode(errors="replace")
    found = [
        re.search(_VALUE.format(name), words, re.MULTILINE)
        for name in ("process_cpu_seconds_total", "process_resident_memory_bytes")
    ]
    if not all(found):
        return None
    cpu_s, rss_bytes = (float(each[1]) for each in found if each)
    return Reading(cpu_s, int(rss_bytes), "/metrics")


def _of_process(pid: int) -> Reading | None:
    folder = Path("/proc") / str(pid)
    try:
        # Behind the name, which may hold anything: user and system time are fields 14 and 15.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        pages = int((folder / "statm").read_text().split()[1])
        ticks = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    cpu_s = (int(fields[11]) + int(fields[12])) / ticks
    return Reading(cpu_s, pages * os.sysconf("SC_PAGE_SIZE"), "/proc")


def machine_cpu_s() -> float | None:
    """CPU time that all processes of this machine have had, or that its host took; None unknown."""
    try:
        first = Path("/proc/stat").read_text().partition("\n")[0].split()
        user, nice, system, _, _, irq, softirq, steal = map(int, first[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def can_connect(target: Target) -> str:
    """Why nothing listens at the target; empty if something does."""
    try:
        with socket.socket(target.family, socket.SOCK_STREAM) as trial:
            trial.settimeout(_TIMEOUT_S)
            trial.connect(target.address)
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""
