"""A device's folder: two slots, a link to the one that runs, and what is known of them.

    device.json     where orders come from, and for whom: written once, by provisioning
    root.json       whom to trust at first, likewise
    slots/a, b      one file each
    current         -> slots/a or slots/b: what runs
    state.json      what was committed, what is on trial, what was bad
    metadata/       the signed metadata that was seen last
    incoming.part   a download, as far as it came
    report.json     what runs, and what the last run of the updater did

The state is written first and the link follows it, so that whoever finds them apart, after a power
cut, knows where the link belongs. A file never changes in a slot that the link points to.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeclf.errors import FleetError
from edgeclf.fleet.disk import locked, put_json, put_link, sync_folder
from edgeclf.system.files import sha256_of
from edgeclf.system.progress import log

_SLOTS = ("a", "b")
_MOST_REMEMBERED = 64  # hashes that were bad, or seen
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Release:
    """A file that was ordered and found good.

    Attributes:
        name: The model's.
        counter: The order's; a later order has a larger one.
        sha256: The file's.
        file: Where it is, relative to the device's folder.
        version: What its publisher calls it.
    """

    name: str
    counter: int
    sha256: str
    file: str
    version: str = ""

    @property
    def slot(self) -> str:
        """The folder it is in, relative to the device's."""
        return self.file.rpartition("/")[0]


@dataclass
class Trial:
    """A release that runs and is not committed yet.

    Attributes:
        release: Which.
        minutes: How long it must run.
        starts: How often what uses it may start meanwhile.
        confirm: Whether it is committed only where its user said that it is good.
        confirmed: Whether that was said.
        started: How often it was started.
        waited_s: How long it has run before this boot of the machine.
        boot: Which boot that is.
        since_s: When the trial began or went on, in seconds since that boot.
    """

    release: Release
    minutes: float = 0.0
    starts: int = 3
    confirm: bool = False
    confirmed: bool = False
    started: int = 0
    waited_s: float = 0.0
    boot: str = ""
    since_s: float = 0.0

    def elapsed_s(self) -> float:
        """How long it has run while the machine did; no clock that can be set is asked."""
        boot, now_s = boot_time()
        return self.waited_s + (now_s - self.since_s if boot == self.boot else 0.0)

    def mark(self) -> None:
        """Counts the time up to now."""
        self.waited_s = self.elapsed_s()
        self.boot, self.since_s = boot_time()


@dataclass
class State:
    """What a device knows.

    Attributes:
        committed: What to go back to; None before the first one.
        trial: What runs for now.
        bad: Hashes that failed here, with the reason.
        seen: Hashes that ran here, with the largest counter of theirs.
        signed_at: The newest signing time that was seen, seconds since 1970: no clock before it
            can be right.
    """

    committed: Release | None = None
    trial: Trial | None = None
    bad: dict[str, str] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    signed_at: float = 0.0

    @property
    def running(self) -> Release | None:
        """What the link should point to."""
        return self.committed if self.trial is None else self.trial.release

    def document(self) -> dict[str, Any]:
        """It as JSON types; later changes of the state are not in it."""
        committed, trial = self.committed, self.trial
        return {
            "committed": committed and vars(committed).copy(),
            "trial": trial and {**vars(trial), "release": vars(trial.release).copy()},
            "bad": dict(self.bad), "seen": dict(self.seen), "signed_at": self.signed_at,
        }  # fmt: skip

    @classmethod
    def of(cls, document: dict[str, Any]) -> State:
        """Reads what `document` made; raises what a wrong document raises."""
        committed, trial = document["committed"], document["trial"]
        return cls(
            committed and Release(**committed),
            trial and Trial(**{**trial, "release": Release(**trial["release"])}),
            dict(document["bad"]), dict(document["seen"]), float(document["signed_at"]),
        )  # fmt: skip


def boot_time() -> tuple[str, float]:
    """Which boot of the machine this is, and the seconds since it."""
    try:
        boot = _BOOT.read_text().strip()
    except OSError:  # not Linux
        boot = "?"
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return boot, time.clock_gettime(clock)


class Folder:
    """A device's folder.

    Args:
        path: Where; it is there since provisioning.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.link = self.path / "current"
        self.incoming = self.path / "incoming.part"

    def current(self) -> Path | None:
        """The file that runs; None where there is none."""
        try:
            slot = self.link.resolve(strict=True)
            return next((each for each in slot.iterdir() if each.name[0] != "."), None)
        except OSError:
            return None

    def read(self) -> State:
        """The state; made anew from what runs where its file cannot be read."""
        try:
            return State.of(json.loads((self.path / "state.json").read_bytes()))
        except (OSError, ValueError, LookupError, TypeError):
            return self._state_of_link()

    def _state_of_link(self) -> State:
        """What the file that runs tells of itself, as nothing else is left."""
        path = self.current()
        if path is None:
            return State()
        counter, _, rest = path.name.partition(".")
        number = int(counter) if counter.isdecimal() else 0
        sha256, file = sha256_of(path), str(path.relative_to(self.path.resolve()))
        release = Release(rest.partition(".")[0], number, sha256, file)
        return State(release, seen={sha256: number})

    @contextmanager
    def changing(self) -> Iterator[State]:
        """Gives the state to be changed; then writes it, and has the link follow."""
        with locked(self.path / "state.lock"):
            state = self.read()
            before = state.document()
            yield state
            state.bad = _last(state.bad)
            state.seen = _last(state.seen)
            document = state.document()
            if document != before or not (self.path / "state.json").exists():
                put_json(self.path / "state.json", document)
            self._follow(state)

    def _follow(self, state: State) -> None:
        target = state.running.slot if state.running else None
        present = str(self.link.readlink()) if self.link.is_symlink() else None
        if target is None and present is not None:
            self.link.unlink()
            sync_folder(self.path)
        elif target is not None and target != present:
            put_link(self.link, target)

    def free_slot(self, state: State) -> Path:
        """The slot that holds nothing to go back to."""
        release = state.committed or state.running
        kept = release.slot if release else None
        name = next(each for each in _SLOTS if f"slots/{each}" != kept)
        return self.path / "slots" / name

    def find(self, sha256: str) -> Path | None:
        """A file that is here already, in a slot."""
        for path in self.path.glob("slots/?/*"):
            if path.is_file() and path.name[0] != "." and sha256_of(path) == sha256:
                return path
        return None

    def place(self, source: Path, slot: Path, name: str) -> str:
        """Moves a file to a slot, which holds nothing else then; where it is, relative to here."""
        slot.mkdir(parents=True, exist_ok=True)
        for old in slot.iterdir():
            if old != source:
                old.unlink()
        source.replace(slot / name)
        sync_folder(slot)
        sync_folder(slot.parent)
        sync_folder(source.parent)
        return str((slot / name).relative_to(self.path))


def back(state: State, reason: str | None) -> None:
    """Ends a trial for the worse; with a reason its hash is remembered as bad."""
    assert state.trial is not None
    if reason is not None:
        state.bad[state.trial.release.sha256] = reason
    state.trial = None


def commit(state: State) -> None:
    """Ends a trial for the better."""
    assert state.trial is not None
    release = state.committed = state.trial.release
    state.seen.pop(release.sha256, None)  # so that it is the last one again
    state.seen[release.sha256] = release.counter
    state.trial = None


def current(folder: str | os.PathLike[str]) -> Path:
    """The file that runs on this device.

    It costs the reading of a link, so that a running program can ask before each picture; the name
    is another one for each release, even where the slot is the same.

    Args:
        folder: The device's.

    Raises:
        FleetError: There is none yet.

    Examples:
        ```python
        model = fleet.current("/var/lib/edgeclf")
        if model != classifier.artifact.path:
            classifier = Classifier(model)
        ```
    """
    path = Folder(folder).current()
    if path is None:
        raise FleetError(
            f"{folder} holds no model that runs. 'edgeclf update {folder}' brings the first one.",
            "empty",
        )
    return path


def started(folder: str | os.PathLike[str]) -> Path:
    """Says that a program starts with the model that runs, and gives its file.

    During a trial that is counted: one that starts more often than the order allows is in a crash
    loop, and the device goes back to its last good release then and there, without a network.

    Args:
        folder: The device's.

    Raises:
        FleetError: There is no model yet.
    """
    try:
        with Folder(folder).changing() as state:
            trial = state.trial
            if trial is not None:
                trial.mark()
                trial.started += 1
                if trial.started > trial.starts:
                    back(state, f"{trial.started} starts on trial, and {trial.starts} are allowed")
    except OSError as exc:  # a full disk, or not allowed: no reason not to answer
        log(f"edgeclf: this start cannot be counted in {folder}: {exc.strerror or exc}")
    return current(folder)


def confirm(folder: str | os.PathLike[str]) -> None:
    """Says that the model on trial does well; the next run of the updater commits it.

    Args:
        folder: The device's.
    """
    with Folder(folder).changing() as state:
        if state.trial is not None:
            state.trial.confirmed = True


def _last(remembered: dict[str, Any]) -> dict[str, Any]:
    return dict(list(remembered.items())[-_MOST_REMEMBERED:])
