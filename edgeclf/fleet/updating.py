"""One run of the updater: end a trial that is over, look for an order, bring it, prove it, switch.

Whatever fails leaves what runs as it is. Each step can be cut off by a lost power supply, and the
next run goes on from what it finds on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import (
    ArtifactError,
    EdgeclfError,
    FleetError,
    InferenceError,
    QualityGateError,
    VerificationError,
)
from edgeclf.fleet import check as checks
from edgeclf.fleet.disk import locked
from edgeclf.fleet.folder import Folder, Release, State, Trial, back, commit
from edgeclf.fleet.orders import Order
from edgeclf.fleet.provision import checked_place, read_device
from edgeclf.fleet.reporting import Reporter
from edgeclf.system.files import sha256_of

if TYPE_CHECKING:
    from edgeclf.fleet.http import Http

    Check = Callable[[bytes, str, Mapping[str, int], Path | None, Path], dict[str, Any]]

# What says something of the file, and not of the moment: such a hash is not tried again.
_ITS_OWN_FAULT = (ArtifactError, InferenceError, QualityGateError, VerificationError)


@dataclass(frozen=True)
class Outcome:
    """What a run of the updater did.

    Attributes:
        kind: ``unchanged``, ``trial`` (switched, and not committed yet), ``committed``, ``back``
            (a trial ended badly), ``kept`` (there is an order, and not for this device), or
            ``failed``.
        text: The same for people, with the reason.
        reason: Of ``failed`` and ``back``, a word to count by.
        running: What runs now; None where nothing does.
        found: What the check of a new file found.
        requests: Sent to the repository.
        received_bytes: Likewise.
    """

    kind: str
    text: str
    reason: str = ""
    running: Release | None = None
    found: Mapping[str, Any] | None = None
    requests: int = 0
    received_bytes: int = 0


class Run:
    """One run.

    Args:
        folder: The device's.
        http: Who fetches; made for the repository where it is None.
        check: What proves a file here.
        to: Where this run's report goes instead of where the device was told to send it.
    """

    def __init__(
        self,
        folder: Folder,
        http: Http | None = None,
        check: Check = checks.check,
        to: str | None = None,
    ) -> None:
        self.folder = folder
        device, self._root = read_device(folder.path)
        self.device = device if to is None else replace(device, report=checked_place(to))
        self._http = http
        self._check = check
        self._found: dict[str, Any] | None = None
        self._reporter = Reporter(folder, self.device)

    def go(self) -> Outcome:
        """Does what there is to do.

        Raises:
            EdgeclfError: It could not; what runs goes on, and a report says so.
        """
        try:
            with locked(self.folder.path / "update.lock", wait=False):
                return self._go()
        finally:
            self._reporter.send()  # whoever is slow to take it holds no other run up

    def _go(self) -> Outcome:
        kind, text, reason = "failed", "", ""
        try:
            kind, text = self._end_trial() or ("", "")
            if (more := self._follow_order(ended=bool(kind))) is not None:
                kind, text = more
        except (EdgeclfError, OSError) as exc:
            kind, text = "failed", str(exc)
            reason = getattr(exc, "reason", type(exc).__name__)
            raise
        finally:
            outcome = self._outcome(kind, text, reason)
            if self._http is not None:
                self._http.close()
            self._reporter.write(asdict(outcome))
        return outcome

    def _outcome(self, kind: str, text: str, reason: str) -> Outcome:
        http, state = self._http, self.folder.read()
        sent, received = (http.requests, http.received_bytes) if http else (0, 0)
        return Outcome(kind, text, reason, state.running, self._found, sent, received)

    # -- the trial

    def _end_trial(self) -> tuple[str, str] | None:
        """Commits what has run long enough and well, or goes back; None where nothing ends."""
        with self.folder.changing() as state:
            trial = state.trial
            if trial is None:
                return None
            trial.mark()
        release, over = trial.release, trial.elapsed_s() >= trial.minutes * 60
        if trial.confirmed or (over and not trial.confirm):
            problem = self._damage(release)
        elif over:
            problem = f"nobody confirmed it within {trial.minutes:g} minutes"
        else:
            return None
        with self.folder.changing() as state:
            if state.trial is None:  # a program that started meanwhile was one too many
                return None
            if problem is not None:
                back(state, problem)
                return "back", f"Release {release.counter} is not committed: {problem}."
            commit(state)
        return "committed", f"Release {release.counter} is committed."

    def _damage(self, release: Release) -> str | None:
        """What is wrong with a file in its slot at the end of its trial."""
        try:
            content = (self.folder.path / release.file).read_bytes()
            self._found = self._check(content, self.device.runtime, {}, None, Path())
        except (OSError, EdgeclfError) as exc:
            return f"at the end of its trial it is not what it was: {exc}"
        return None

    # -- the order

    def _follow_order(self, *, ended: bool) -> tuple[str, str] | None:
        order = self._newest_order()
        state = self.folder.read()
        if order is None:
            return None if ended else ("unchanged", "There is no order for this device.")
        running = state.running
        if running is not None and order.counter == running.counter:
            if not self._is_whole(running):
                return self._take(order, replace(state, committed=None))
            if ended:
                return None
            if state.trial is not None:
                return "trial", f"Release {order.counter} runs on trial."
            return "unchanged", f"Release {order.counter} runs, and nothing newer is ordered."
        if running is not None and order.counter < running.counter:
            return "kept", (
                f"Release {running.counter} runs, and this device is not in the share that it is "
                "ordered for now; it stays until a later order."
            )
        if ended and order.sha256 in state.bad:  # it is what ended
            return None
        self._refuse_old(order, state)
        return self._take(order, state)

    def _is_whole(self, release: Release) -> bool:
        """Whether the disk still holds what runs; if not, it is brought again."""
        try:
            return sha256_of(self.folder.path / release.file) == release.sha256
        except OSError:
            return False

    def _newest_order(self) -> Order | None:
        from edgeclf.fleet.repository import look

        device, state = self.device, self.folder.read()
        signed = look(device.url, device.name, self._root, self.folder.path / "metadata",
                      self._client(), state.signed_at)  # fmt: skip
        if signed.signed_at > state.signed_at:
            with self.folder.changing() as state:
                state.signed_at = signed.signed_at
        mine = [
            c for c, order in signed.orders.items() if order.is_for(device.group, device.device)
        ]
        newest = max(mine, default=0)
        running = state.running.counter if state.running else 0
        if newest < running and running not in signed.orders:
            raise FleetError(
                f"Release {running} runs, which the repository no longer knows, and order {newest} "
                "is the newest for this device: old content in new metadata. A return to an older "
                "release is ordered by 'edgeclf fleet rollback'.",
                "old-content",
            )
        return signed.orders.get(newest)

    def _client(self) -> Http:
        if self._http is None:
            try:
                from edgeclf.fleet.http import Http
            except ModuleNotFoundError as exc:
                from edgeclf.errors import MissingDependencyError

                name = (exc.name or "tuf").partition(".")[0]
                raise MissingDependencyError(name, "fleet", "'edgeclf update'") from exc
            self._http = Http(self.device.url)
        return self._http

    def _refuse_old(self, order: Order, state: State) -> None:
        if order.sha256 in state.bad:
            raise FleetError(
                f"Order {order.counter} is for a file that was bad here before: "
                f"{state.bad[order.sha256]} What runs goes on; publish another file, or try it "
                "again with 'edgeclf update --retry'.",
                "bad-before",
            )
        before = state.seen.get(order.sha256)
        if before is not None and order.rollback is None:
            raise FleetError(
                f"Order {order.counter} brings the file of order {before} again, which ran here "
                "and was replaced: old content in new metadata. A deliberate return to it is "
                "ordered by 'edgeclf fleet rollback'.",
                "old-content",
            )

    def _take(self, order: Order, state: State) -> tuple[str, str]:
        if state.committed is not None and state.committed.sha256 == order.sha256:
            with self.folder.changing() as state:  # a return to what was never left
                if state.trial is not None:
                    back(state, None)
                assert state.committed is not None
                state.committed = replace(state.committed, counter=order.counter)
            return "committed", f"Order {order.counter} returns to what is committed here."
        path = self.folder.find(order.sha256) or self._download(order)
        try:
            self._found = self._check(
                path.read_bytes(), self.device.runtime, order.limits, self.folder.current(),
                self.folder.path / "frames",
            )  # fmt: skip
        except _ITS_OWN_FAULT as exc:
            with self.folder.changing() as state:
                state.bad[order.sha256] = str(exc)
            if path == self.folder.incoming:
                path.unlink()
            raise
        return self._switch(order, path)

    def _download(self, order: Order) -> Path:
        from edgeclf.fleet.http import download
        from edgeclf.fleet.repository import place_of

        url = f"{self.device.url}/{place_of(order)}"
        download(self._client(), url, order, self.folder.incoming, self.device.max_bytes)
        return self.folder.incoming

    def _switch(self, order: Order, path: Path) -> tuple[str, str]:
        """Puts a file that is proven into the free slot, and runs it."""
        with self.folder.changing() as state:
            if state.trial is not None and state.committed is not None:
                back(state, None)  # a later order replaces it
        with self.folder.changing() as state:
            file = self.folder.place(path, self.folder.free_slot(state), order.file_name)
            release = Release(order.name, order.counter, order.sha256, file, order.version)
            asked = order.probation
            state.trial = Trial(
                release, asked.get("minutes", 0), asked.get("starts", 3), bool(asked.get("confirm"))
            )
            state.trial.mark()
        if minutes := order.probation.get("minutes", 0):
            return "trial", f"Release {order.counter} runs on trial, for {minutes} minutes."
        with self.folder.changing() as state:
            commit(state)
        return "committed", f"Release {order.counter} runs and is committed."
