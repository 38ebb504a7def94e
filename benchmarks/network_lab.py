"""Machines of one machine: network namespaces on a bridge, each with an address and a loopback.

All of it lies in namespaces of its own, the bridge too, so that removing these removes everything
and the machine's own network never changes. It takes root and iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_PREFIX = "edgeclf-lab-"
_NETWORK = "10.77.0"
_FOLDER = Path("/run/netns")
_END_S = 5.0


class LabError(Exception):
    """There can be no namespaces here; says why."""


class NetworkLab:
    """Hosts that are added by name, until it is closed; whatever still runs in them ends then.

    Raises:
        LabError: This is not root, iproute2 is missing, or the system refuses.
    """

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise LabError("Network namespaces take root; run it as root, or in a container as it.")
        if shutil.which("ip") is None:
            raise LabError("Network namespaces take the program 'ip': apt-get install iproute2")
        self._mark = f"{_PREFIX}{os.getpid()}-"
        self._hosts: list[str] = []
        _remove_left_over()

    def __enter__(self) -> NetworkLab:
        try:
            self._namespace("bridge")
            _ip("-n", self._mark + "bridge", "link", "add", "lab", "type", "bridge")
            _ip("-n", self._mark + "bridge", "link", "set", "lab", "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, name: str) -> str:
        """Adds a host; its address."""
        number = len(self._hosts) + 1
        space = self._namespace(name)
        bridge, inner, outer = self._mark + "bridge", "eth0", f"v{number}"
        _ip("-n", bridge, "link", "add", outer, "type", "veth",
            "peer", "name", inner, "netns", space)  # fmt: skip
        _ip("-n", bridge, "link", "set", outer, "master", "lab", "up")
        address = f"{_NETWORK}.{number}"
        _ip("-n", space, "addr", "add", f"{address}/24", "dev", inner)
        for each in ("lo", inner):
            _ip("-n", space, "link", "set", each, "up")
        return address

    def command(self, host: str, words: Sequence[str]) -> list[str]:
        """What runs a command on a host; the process that is started becomes that command."""
        return ["ip", "netns", "exec", self._mark + host, *words]

    def close(self) -> None:
        """Ends what runs on the hosts, and removes them."""
        for name in [*self._hosts, "bridge"]:
            _remove(self._mark + name)
        self._hosts.clear()

    def _namespace(self, name: str) -> str:
        space = self._mark + name
        _ip("netns", "add", space)
        if name != "bridge":
            self._hosts.append(name)
        return space


def _remove_left_over() -> None:
    """Those of a process that was killed before it could."""
    for path in _FOLDER.glob(f"{_PREFIX}*") if _FOLDER.is_dir() else ():
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path("/proc", pid).is_dir():
            _remove(path.name)


def _remove(space: str) -> None:
    if not (_FOLDER / space).exists():
        return
    for sent in ("-TERM", "-KILL"):
        until = time.monotonic() + _END_S
        pids = _ip("netns", "pids", space).split()
        if pids:
            subprocess.run(["kill", sent, *pids], check=False, capture_output=True)
        while _ip("netns", "pids", space).strip() and time.monotonic() < until:
            time.sleep(0.05)
    _ip("netns", "del", space)


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"'ip {' '.join(words)}' failed: {done.stderr.strip()}")
    return done.stdout
