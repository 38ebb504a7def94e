"""A fleet in one process: the device's real code, over a clock and a network that are not.

What is not real is said here and is as little as can be: the time, the sockets of urllib3, the
check of a file (its answer is told by release and class of device), fsync and the room on the disk.
Power is cut by an exception at a write, after which nothing can be written; a file that was not
synchronised then is left cut off at a random place, which is worse than a kill.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import heapq
import itertools
import json
import os
import random
import shutil
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import urllib3
from tuf.ngclient._internal import trusted_metadata_set

from edgeclf import fleet
from edgeclf.errors import EdgeclfError, FleetError, VerificationError
from edgeclf.fleet import folder as folders
from edgeclf.fleet import http, outbox, reporting
from edgeclf.fleet.folder import Folder
from edgeclf.fleet.updating import Run
from edgeclf.publishing import repository as publishing
from edgeclf.publishing.collector import Collector
from support.remembered import remembered

EPOCH = 1_800_000_000.0  # of the simulation's clock
DAY_S = 86_400.0
_STATUS = {"unknown-device": 403, "signature": 403, "replayed": 409, "report": 422}


class PowerCut(BaseException):
    """The device is off."""


@dataclass
class Node:
    """A device, and what is wrong with it.

    Attributes:
        path: Its folder.
        group: Of the fleet.
        device_class: What it is one of.
        look_s: Between two runs of its updater.
        skew_s: By which its clock is wrong, until it is set on day `set_day`.
        set_day: Likewise.
        loss: Of its requests, the share that nobody answers.
        cut: Of its answers, the share that ends early.
        bytes_per_s: Of its link.
        power_cuts: Of its runs, the share that a power cut ends.
        full_until_s: How long its disk is full.
        boots: How often it has started.
    """

    path: Path
    group: str
    device_class: str
    look_s: float
    skew_s: float = 0.0
    set_day: float = 0.0
    loss: float = 0.0
    cut: float = 0.0
    bytes_per_s: float = 1e6
    power_cuts: float = 0.0
    full_until_s: float = 0.0
    boots: int = 0


@dataclass
class Seen:
    """What was counted.

    Attributes:
        runs: Of the updater.
        outcomes: By kind, or by the reason of a failure.
        requests: To the repository.
        received_bytes: Likewise.
        reports: To the collector, by status.
        power_cuts: That ended a run.
        full_disks: Writes that found no room.
        downloaded: Devices that were sent any of a file, by its hash.
        ran: Devices that it was ever the current file of, likewise, with when that was first.
        committed: Devices that committed it, likewise.
        broken: What should never be: no whole, known file where one had run.
    """

    runs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    received_bytes: int = 0
    reports: Counter[int] = field(default_factory=Counter)
    power_cuts: int = 0
    full_disks: int = 0
    downloaded: dict[str, set[Path]] = field(default_factory=dict)
    ran: dict[str, dict[Path, float]] = field(default_factory=dict)
    committed: dict[str, set[Path]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


class World:
    """Time, the network and the faults; everything is drawn from one seed.

    Args:
        public: The publisher's folder that is shown.
        collector: Who takes reports of the group `reporting`; the others' are counted.
        reporting: Likewise.
        seed: Of all that is drawn.
    """

    def __init__(self, public: Path, collector: Collector, reporting: str, seed: int) -> None:
        self.now_s, self.seen = 0.0, Seen()
        self.fails_on: dict[str, frozenset[str]] = {}  # hash: classes whose certificate fails
        self.crashes: set[str] = set()  # hashes whose program crashes wherever it starts
        self.known: dict[str, str] = {}  # file name: hash
        self._public, self._collector, self._reporting = public, collector, reporting
        self._drawn = random.Random(seed)
        self._node: Node | None = None
        self._off, self._cut_at, self._writes = False, -1, 0
        self._content: dict[str, tuple[int, bytes]] = {}
        self._events: list[tuple[float, int, Callable[[], float | None]]] = []
        self._number = itertools.count()  # of what happens at the same time, the first one first

    # -- time

    def clock(self) -> float:
        """What the clock says where code runs now."""
        node = self._node
        wrong_s = 0.0
        if node is not None and self.now_s < node.set_day * DAY_S:
            wrong_s = node.skew_s
        return EPOCH + self.now_s + wrong_s

    def at(self, when_s: float, action: Callable[[], float | None]) -> None:
        """Does something then, and again after as many seconds as it gives."""
        heapq.heappush(self._events, (when_s, next(self._number), action))

    def run_until(self, end_s: float) -> None:
        """Lets time pass."""
        while self._events and self._events[0][0] <= end_s:
            when_s, _, action = heapq.heappop(self._events)
            self.now_s = when_s
            again_s = action()
            if again_s is not None:
                self.at(when_s + again_s, action)
        self.now_s = end_s

    # -- a device

    def look(self, node: Node) -> float:
        """One run of the updater, and what its program does with what runs then."""
        seen, drawn = self.seen, self._drawn
        self._node, self._writes = node, 0
        self._cut_at = drawn.randrange(40) if drawn.random() < node.power_cuts else -1
        seen.runs += 1
        faulty = self._cut_at >= 0 or self.now_s < node.full_until_s
        told = ""
        try:
            outcome = Run(Folder(node.path), check=self._check).go()
            told = outcome.kind
            seen.outcomes[told] += 1
        except PowerCut:
            seen.power_cuts += 1
            seen.outcomes["power cut"] += 1
            node.boots += 1
        except EdgeclfError as exc:
            seen.outcomes[getattr(exc, "reason", type(exc).__name__)] += 1
        except OSError as exc:
            seen.outcomes[errno.errorcode.get(exc.errno or 0, "OSError")] += 1
        self._off, self._cut_at = False, -1
        if told != "unchanged":
            self._note(node, whole=faulty)
        self._node = None
        return node.look_s * drawn.uniform(0.8, 1.2)

    def _note(self, node: Node, *, whole: bool) -> None:
        """What runs after a run; its program starts, and crashes if it must."""
        place = Folder(node.path)
        for _ in range(5):
            path = place.current()
            if path is None or path.name not in self.known:
                self.seen.broken.append(f"{node.path.name}: {path} runs")
                return
            sha256 = self.known[path.name]
            if whole and folders.sha256_of(path) != sha256:
                self.seen.broken.append(f"{node.path.name}: half of {path.name} runs")
            self.seen.ran.setdefault(sha256, {}).setdefault(node.path, self.now_s)
            if sha256 not in self.crashes:
                break
            fleet.started(node.path)
        committed = place.read().committed
        if committed is not None:
            self.seen.committed.setdefault(committed.sha256, set()).add(node.path)

    def whole(self, node: Node) -> bool:
        """Whether a file that was published runs, to its last byte."""
        path = Folder(node.path).current()
        return path is not None and folders.sha256_of(path) == self.known.get(path.name)

    def _check(self, content: bytes, *_: Any) -> dict[str, Any]:
        """What the child would say: by release and class of device."""
        node = self._node
        assert node is not None
        if node.device_class in self.fails_on.get(hashlib.sha256(content).hexdigest(), ()):
            raise VerificationError("It does not compute the certified model on this device.")
        return {"latency_ms": 5.0}

    # -- faults

    def write(self, handle: int | None = None) -> None:
        """Meets the fault of a write, if it is its turn."""
        node = self._node
        if node is None:
            return
        if self._off:
            raise PowerCut
        if self._writes == self._cut_at:
            self._off = True
            if handle is not None and (size := os.fstat(handle).st_size):
                with suppress(OSError):  # of a folder
                    os.ftruncate(handle, self._drawn.randrange(size))
            raise PowerCut
        self._writes += 1
        if self.now_s < node.full_until_s and self._drawn.random() < 0.1:
            self.seen.full_disks += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def free_bytes(self) -> int:
        """Room on the device's disk."""
        node = self._node
        return 0 if node is not None and self.now_s < node.full_until_s else 1 << 30

    # -- the network

    def request(self, method: str, url: str, **words: Any) -> _Answer:
        """What urllib3's pool does, its two further tries included."""
        node, drawn = self._node, self._drawn
        assert node is not None
        if self._off:
            raise PowerCut
        tries = 1 if words.get("retries") is False else 3
        for _ in range(tries):
            if method == "GET":
                self.seen.requests += 1
            self.now_s += drawn.uniform(0.02, 0.5)
            if drawn.random() >= node.loss:
                break
        else:
            raise urllib3.exceptions.HTTPError("timed out")
        if method == "POST":
            return _Answer(self, self._take(words["body"]), b"")
        path = url.split("/", 3)[3]
        content = self._read(path)
        if content is None:
            return _Answer(self, 404, b"")
        start = int(words["headers"].get("Range", "bytes=0-")[6:-1])
        if start >= len(content) > 0:
            return _Answer(self, 416, b"")
        if path.startswith("targets/"):
            sha256 = path.rpartition("/")[2].partition(".")[0]
            self.seen.downloaded.setdefault(sha256, set()).add(node.path)
        end = drawn.randrange(len(content)) if drawn.random() < node.cut else None
        return _Answer(self, 206 if start else 200, content[start:], end)

    def _read(self, path: str) -> bytes | None:
        place = self._public / path
        try:
            changed = place.stat().st_mtime_ns
        except OSError:
            return None
        if self._content.get(path, (0, b""))[0] != changed:
            self._content[path] = (changed, place.read_bytes())
        return self._content[path][1]

    def passed(self, count: int) -> None:
        """Bytes that came to a device."""
        assert self._node is not None
        self.seen.received_bytes += count
        self.now_s += count / self._node.bytes_per_s

    def _take(self, body: bytes) -> int:
        node, status = self._node, 202
        assert node is not None
        if node.group == self._reporting:
            try:
                self._collector.take(body, EPOCH + self.now_s)
            except FleetError as exc:
                status = _STATUS.get(exc.reason, 503)
        self.seen.reports[status] += 1
        return status

    # -- what is not real

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Puts the world in the place of the real one."""
        world = self

        class Now(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> Now:
                return cls.fromtimestamp(world.clock(), tz)

        def before(name: str) -> Callable[..., Any]:
            real = getattr(os, name)

            def call(*words: Any, **more: Any) -> Any:
                world.write()
                return real(*words, **more)

            return call

        room = shutil.disk_usage("/")
        clock = types.SimpleNamespace(monotonic=lambda: world.now_s)
        with ExitStack() as stack:
            for place, name, value in (
                (time, "time", self.clock),
                (http, "time", clock),
                (folders, "boot_time", lambda: (
                    f"boot {world._node.boots if world._node else 0}", world.now_s)),
                (trusted_metadata_set, "datetime", types.SimpleNamespace(
                    datetime=Now, timezone=datetime.timezone)),
                (publishing, "datetime", Now),
                (urllib3, "PoolManager", lambda **_: _Pool(world)),
                (http.urllib.request, "getproxies", dict),
                *((place, "log", lambda _: None) for place in (folders, outbox, reporting)),
                (shutil, "disk_usage", lambda _: room._replace(free=world.free_bytes())),
                (os, "fsync", self.write),
                *((os, name, before(name))
                  for name in ("replace", "rename", "symlink", "unlink")),
            ):  # fmt: skip
                stack.enter_context(mock.patch.object(place, name, value))
            stack.enter_context(remembered(lambda: world._node is not None))
            yield


class _Pool:
    def __init__(self, world: World) -> None:
        self.request = world.request

    def clear(self) -> None:
        pass


class _Answer:
    """As much of urllib3's as is asked."""

    def __init__(self, world: World, status: int, content: bytes, end: int | None = None) -> None:
        self._world, self.status, self._content, self._end = world, status, content, end
        self.closed, self._given = False, 0

    def read1(self, amount: int, decode_content: bool = False) -> bytes:
        end = len(self._content) if self._end is None else min(self._end, len(self._content))
        part = self._content[self._given : min(end, self._given + amount)]
        self._given += len(part)
        self._world.passed(len(part))
        if not part and end < len(self._content):
            raise urllib3.exceptions.ProtocolError("Connection broken")
        return part

    def read(self, amount: int) -> bytes:
        return b""

    def close(self) -> None:
        self.closed = True


def copies(template: Path, folder: Path, count: int) -> Iterator[Path]:
    """Folders of devices, each like one that was provisioned but for its name."""
    device = json.loads((template / "device.json").read_bytes())
    for number in range(count):
        path = folder / f"{template.name}-{number}"
        shutil.copytree(template, path, symlinks=True)
        (path / "device.json").write_text(json.dumps({**device, "device": path.name}))
        yield path
