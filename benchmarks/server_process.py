"""A server as a process, with all that it starts: when it is ready, and what it takes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from http_client import Client, get

_MARK = "EDGECLF_BENCHMARK_SERVER"  # in the environment of the server and of all that it starts
_TICKS = os.sysconf("SC_CLK_TCK")
_START_LIMIT_S = 240.0


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ServerError(Exception):
    """A server did not start, or ended."""


class ServerProcess:
    """A server that listens on loopback, from its start to its end.

    Args:
        command: Starts it.
        port: Where it listens.
        ready: The path that answers 200 once it can answer pictures.
        cpus: Where it may run; None for where this process may.
        environment: Added to this process's.
        folder: Where it runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        ready: str = "/healthz/ready",
        cpus: set[int] | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.address = ("127.0.0.1", port)
        self._token = uuid.uuid4().hex
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - read when it failed
        self._command = command
        start = time.perf_counter()
        self._process = subprocess.Popen(
            [*([] if cpus is None else ["taskset", "-c", ",".join(map(str, cpus))]), *command],
            env={**os.environ, **(environment or {}), _MARK: self._token},
            cwd=folder, stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        try:
            self._wait(ready, start)
        except BaseException:
            self.stop()
            raise
        self.start_s = time.perf_counter() - start

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _wait(self, ready: str, start: float) -> None:
        while time.perf_counter() < start + _START_LIMIT_S:
            if self._process.poll() is not None:
                raise ServerError(f"ended with {self._process.returncode}: {self.output()[-300:]}")
            try:
                client = Client(self.address, 1)
                (reply,) = client.closed_loop([get(ready)], count=1)
                client.close()
            except OSError:
                reply = None
            if reply is not None and reply.status == 200:
                return
            time.sleep(0.005)
        raise ServerError(f"not ready after {_START_LIMIT_S:g} s: {self.output()[-300:]}")

    def output(self) -> str:
        """What it has written."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip()

    def pids(self) -> Iterator[int]:
        """It and all that it has started and that still runs."""
        mark = f"{_MARK}={self._token}".encode()
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    if mark in (path / "environ").read_bytes().split(b"\0"):
                        yield int(path.name)
                except OSError:  # ended, or another user's
                    continue

    def cpu_s(self) -> float:
        """User and system time of all of them until now, and of those that ended and were seen."""
        return sum(map(cpu_s, self.pids()))

    def pss_bytes(self) -> int:
        """Their memory, shared pages divided among those that share them."""
        return sum(_smaps(pid, "Pss") for pid in self.pids())

    def stop(self) -> None:
        """Ends it: asked first, then forced, with all that it has started."""
        for sent, wait_s in ((signal.SIGINT, 10.0), (signal.SIGKILL, 10.0)):
            own = list(self.pids())
            for pid in own:
                try:
                    os.kill(pid, sent)
                except ProcessLookupError:
                    continue
            try:
                self._process.wait(wait_s)
            except subprocess.TimeoutExpired:
                continue
            if not list(self.pids()):
                break
        self._log.close()


def cpu_s(pid: int) -> float:
    """User and system time of a process and of its children that ended, in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def rss_bytes(pid: int) -> int:
    """Resident memory of a process; 0 once it has ended."""
    return _smaps(pid, "Rss")


def _smaps(pid: int, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024
