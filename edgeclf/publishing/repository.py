"""A fleet's repository: signed metadata and files in a folder that any web server can show.

    public/metadata/  1.root.json ..., N.targets.json, N.snapshot.json, timestamp.json
    public/targets/   MODEL/SHA256.COUNTER.FILE
    keys/             private keys, unless they are elsewhere; never shown to anyone
    fleet.json        where each private key is, and how long each signature is good

What devices fetch is written in such an order, the timestamp last, that they see the state before
or the state after.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from edgeclf.errors import FleetError, OptionError
from edgeclf.fleet.disk import locked, put, put_json
from edgeclf.fleet.orders import SIGNED_AT, Order, read_order
from edgeclf.fleet.repository import place_of
from edgeclf.publishing.keys import (
    ELSEWHERE,
    ROLES,
    check_packages,
    key_at,
    new_key,
    signer_of,
)
from edgeclf.publishing.staging import FILE, Staged, merge, read_staged

EXPIRY_DAYS = {"root": 730, "targets": 365, "snapshot": 365, "timestamp": 28}
_COUNTER = "edgeclf_counter"  # of the targets: the last one that was given


class Repository:
    """A fleet's repository.

    Args:
        folder: Where it is.
        stage: Whether changes are put aside to be signed on several machines, see
            `edgeclf.publishing.staging`, and published by `merge`.

    Raises:
        FleetError: There is none.
        MissingDependencyError: What signs is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], *, stage: bool = False) -> None:
        check_packages()
        self.path = Path(folder)
        self._staging = stage
        self.public = self.path / "public"
        self._metadata = self.public / "metadata"
        try:
            self._settings = json.loads((self.path / "fleet.json").read_bytes())
        except (OSError, ValueError) as exc:
            raise FleetError(
                f"{self.path} is no fleet: {exc}. Make one: edgeclf fleet init {self.path}",
                "no-fleet",
            ) from exc

    @classmethod
    def create(cls, folder: str | os.PathLike[str], expiry_days: int | None = None) -> Repository:
        """Makes a fleet with an Ed25519 key for each role.

        Args:
            folder: Where; it must not hold one yet.
            expiry_days: How long the timestamp is good, 28 by default: for so long a device may go
                without news before it knows that it has none.

        Raises:
            FleetError: There is one already.
            OptionError: The days are none.
        """
        check_packages()
        from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

        path = Path(folder)
        days = {**EXPIRY_DAYS, "timestamp": expiry_days or EXPIRY_DAYS["timestamp"]}
        if days["timestamp"] < 1:
            raise OptionError(f"A timestamp of {expiry_days} days is none; expected 1 or more.")
        if (path / "fleet.json").exists():
            raise FleetError(f"{path} is a fleet already, and stays as it is.", "exists")
        (path / "public" / "metadata").mkdir(parents=True, exist_ok=True)
        (path / "public" / "targets").mkdir(exist_ok=True)
        root, signers = Root(consistent_snapshot=True), {}
        for role in ROLES:
            key, uri = new_key(path, role)
            root.add_key(key, role)
            signers[key.keyid] = uri
        put_json(path / "fleet.json", {"schema": "edgeclf.fleet/1", "signers": signers,
                                       "expiry_days": days})  # fmt: skip
        made = cls(path)
        root.version = 0
        made._write_root(Metadata(root), [])
        targets, snapshot, timestamp = Targets(), Snapshot(), Timestamp()
        targets.version = snapshot.version = timestamp.version = 0
        targets.unrecognized_fields[_COUNTER] = 0
        made._write(Metadata(targets), Metadata(snapshot), Metadata(timestamp))
        return made

    # -- reading

    def root(self) -> Any:
        """The newest root, as tuf has it."""
        from tuf.api.metadata import Metadata

        versions = [int(path.name.partition(".")[0]) for path in self._metadata.glob("*.root.json")]
        return Metadata.from_file(str(self._metadata / f"{max(versions)}.root.json"))

    def load(self, role: str) -> Any:
        """The newest metadata of a role other than the root."""
        from tuf.api.metadata import Metadata

        timestamp = Metadata.from_file(str(self._metadata / "timestamp.json"))
        if role == "timestamp":
            return timestamp
        version = timestamp.signed.snapshot_meta.version
        snapshot = Metadata.from_file(str(self._metadata / f"{version}.snapshot.json"))
        if role == "snapshot":
            return snapshot
        version = snapshot.signed.meta["targets.json"].version
        return Metadata.from_file(str(self._metadata / f"{version}.targets.json"))

    def orders(self, name: str | None = None) -> dict[int, Order]:
        """What is ordered, by counter; of one model where it is named."""
        found = {}
        for path, target in self.load("targets").signed.targets.items():
            order = read_order(path, target.hashes["sha256"], target.length, target.custom)
            if name in (None, order.name):
                found[order.counter] = order
        return dict(sorted(found.items()))

    def last_counter(self) -> int:
        """The last counter that was given; the next order has a larger one."""
        return int(self.load("targets").signed.unrecognized_fields.get(_COUNTER, 0))

    def file_of(self, order: Order) -> Path:
        """Where an order's file is."""
        return self.public / place_of(order)

    def expiries(self) -> dict[str, datetime]:
        """Until when each role's signature is good."""
        loaded = {"root": self.root(), **{role: self.load(role) for role in ROLES[1:]}}
        return {role: metadata.signed.expires for role, metadata in loaded.items()}

    # -- writing

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keeps other publishers out.

        Raises:
            FleetError: One is at work.
        """
        with locked(self.path / "fleet.lock", wait=False):
            yield

    def write_orders(self, *orders: Order, content: bytes | None = None) -> None:
        """Signs orders, new ones or others for the same counters, inside of `changing`.

        Args:
            orders: All of one file.
            content: The file, where it is not there yet.
        """
        from tuf.api.metadata import TargetFile

        targets = self.load("targets")
        for order in orders:
            if content is not None:
                place = self.file_of(order)
                place.parent.mkdir(parents=True, exist_ok=True)
                put(place, content)
            target = TargetFile(order.size_bytes, {"sha256": order.sha256}, order.path)
            target.unrecognized_fields["custom"] = order.custom()
            targets.signed.targets[order.path] = target
            fields = targets.signed.unrecognized_fields
            fields[_COUNTER] = max(int(fields.get(_COUNTER, 0)), order.counter)
        if self._staging:
            self._stage({"targets": targets}, {})
        else:
            self._write(targets, self.load("snapshot"), self.load("timestamp"))

    def renew(self) -> None:
        """Signs again what is there, so that it does not expire; inside of `changing`."""
        loaded = [self.load(role) for role in ROLES[1:]]
        root, now = self.root().signed, datetime.now(timezone.utc)
        stale = any(
            metadata.signed.expires - now < timedelta(days=self._days(role) / 2)
            # Whoever changed keys was cut off before this was signed again.
            or not root.get_verification_result(
                role, metadata.signed_bytes, metadata.signatures
            ).verified
            for role, metadata in zip(ROLES[1:3], loaded, strict=False)
        )
        if stale:
            self._write(*loaded)
        else:
            self._write_timestamp(loaded[2])

    def change_keys(self, role: str, change: Callable[[Any], dict[str, str]]) -> Any:
        """Changes whose keys count for a role, inside of `changing`.

        The new root is signed by the old keys and by the new ones, so that every device follows;
        what the role itself had signed is signed again.

        Args:
            role: Whose.
            change: Changes the root, and gives the URIs of keys that it added.

        Returns:
            The new root, as tuf has it.
        """
        root = self.root()
        if self._staging:
            added = change(root.signed)
            again = {} if role == "root" else {"targets": self.load("targets")}
            self._stage({"root": root, **again}, added)
            return root
        before = self._signers("root", root.signed)
        known = {**self._settings["signers"], **change(root.signed)}
        for each in ROLES:  # or nothing is changed: devices would follow to where nobody can sign
            self._signers(each, root.signed, known)
        self._settings["signers"] = known
        put_json(self.path / "fleet.json", self._settings)
        self._write_root(root, before)
        if role != "root":
            self._write(*(self.load(each) for each in ROLES[1:]))
        return root

    def _stage(self, metadata: dict[str, Any], signers: dict[str, str]) -> None:
        """Signs what the keys here can, and puts it aside for the others."""
        if (self.path / FILE).exists():
            raise FleetError(
                f"{self.path / FILE} waits for signatures already. Merge or drop it: edgeclf fleet "
                f"merge {self.path} [--drop]",
                "staged",
            )
        staged = Staged(self.root(), metadata, signers)
        for role, each in metadata.items():
            self._begin(role, each)
            keys = {**staged.trusted.signed.keys, **staged.root.signed.keys}
            known = {**self._settings["signers"], **signers}
            for keyid in {k for root in (staged.trusted, staged.root)
                          for k in root.signed.roles[role].keyids}:  # fmt: skip
                with suppress(FleetError):  # it is on another machine
                    each.sign(signer_of(self.path, known.get(keyid, ELSEWHERE), keys[keyid]),
                              append=True)  # fmt: skip
        staged.write(self.path / FILE)

    def merge(self, files: Iterable[str | os.PathLike[str]] = ()) -> Staged:
        """Takes over what others have signed, and publishes it if nothing is missing.

        Args:
            files: What came back; with none, what is staged is looked at.

        Raises:
            FleetError: Nothing is staged, a file is about something else, or something else was
                published meanwhile.
        """
        path = self.path / FILE
        staged = read_staged(path)
        merge(staged, files)
        staged.write(path)
        if not staged.complete():
            return staged
        self._check_next(staged)
        root, targets = staged.metadata.get("root"), staged.metadata.get("targets")
        if root is not None:
            self._settings["signers"].update(staged.signers)
            put_json(self.path / "fleet.json", self._settings)
            put(self._metadata / f"{root.signed.version}.root.json", root.to_bytes())
        if targets is not None:
            self._show(targets.signed.version, targets.to_bytes(), self.load("snapshot"),
                       self.load("timestamp"))  # fmt: skip
        path.unlink()
        return staged

    def _check_next(self, staged: Staged) -> None:
        """Nobody may have published since: what is staged would take that back."""
        now = {"root": self.root(), "targets": self.load("targets")}
        for role, metadata in staged.metadata.items():
            # A run that was cut off may have written the root already.
            same = now[role].signed_bytes == metadata.signed_bytes
            if metadata.signed.version != now[role].signed.version + 1 and not same:
                raise FleetError(
                    f"Version {metadata.signed.version} of {role} is staged, and version "
                    f"{now[role].signed.version} was published meanwhile. Drop what is staged, and "
                    "stage it again: edgeclf fleet merge --drop",
                    "mixed",
                )

    def drop(self) -> bool:
        """Drops what is staged; whether anything was."""
        try:
            (self.path / FILE).unlink()
        except FileNotFoundError:
            return False
        return True

    def new_key(self, role: str) -> tuple[Any, str]:
        """See `edgeclf.publishing.keys.new_key`."""
        return new_key(self.path, role)

    def key_at(self, uri: str | None, public: str | os.PathLike[str] | None) -> tuple[Any, str]:
        """See `edgeclf.publishing.keys.key_at`."""
        return key_at(uri, public)

    def _days(self, role: str) -> int:
        return int(self._settings["expiry_days"][role])

    def _signers(self, role: str, root: Any, known: Mapping[str, str] | None = None) -> list[Any]:
        """What signs a role: one for each of its keys that is needed.

        Raises:
            FleetError: Fewer keys can be reached than its threshold asks for.
        """
        wanted, found, missing = root.roles[role], [], []
        for keyid in wanted.keyids:
            uri = (known or self._settings["signers"]).get(keyid)
            try:
                if uri is None:
                    raise FleetError(
                        f"{keyid[:8]} is not among the signers of fleet.json", "no-key"
                    )
                found.append(signer_of(self.path, uri, root.keys[keyid]))
            except FleetError as exc:
                missing.append(str(exc))
        if len(found) < wanted.threshold:
            raise FleetError(
                f"{role!r} needs {wanted.threshold} signatures, and {len(found)} of its keys can "
                f"be used here. {' '.join(missing)} Signatures of other machines are collected "
                "with --stage.",
                "no-key",
            )
        return found

    def _sign(self, role: str, metadata: Any, *more: Any) -> bytes:
        """Gives metadata its next version and date, signs it, and gives its bytes."""
        self._begin(role, metadata)
        root = metadata.signed if role == "root" else self.root().signed
        for signer in {each.public_key.keyid: each for each in (*self._signers(role, root), *more)
                       }.values():  # fmt: skip
            metadata.sign(signer, append=True)
        return bytes(metadata.to_bytes())

    def _begin(self, role: str, metadata: Any) -> None:
        metadata.signed.version += 1
        expires = datetime.now(timezone.utc) + timedelta(days=self._days(role))
        metadata.signed.expires = expires.replace(microsecond=0)
        metadata.signatures.clear()

    def _write_root(self, root: Any, before: list[Any]) -> None:
        content = self._sign("root", root, *before)
        put(self._metadata / f"{root.signed.version}.root.json", content)

    def _write(self, targets: Any, snapshot: Any, timestamp: Any) -> None:
        content = self._sign("targets", targets)
        self._show(targets.signed.version, content, snapshot, timestamp)

    def _show(self, version: int, content: bytes, snapshot: Any, timestamp: Any) -> None:
        """Makes signed targets the newest."""
        from tuf.api.metadata import MetaFile

        put(self._metadata / f"{version}.targets.json", content)
        snapshot.signed.meta["targets.json"] = MetaFile.from_data(version, content, ["sha256"])
        content = self._sign("snapshot", snapshot)
        put(self._metadata / f"{snapshot.signed.version}.snapshot.json", content)
        timestamp.signed.snapshot_meta = MetaFile.from_data(
            snapshot.signed.version, content, ["sha256"]
        )
        self._write_timestamp(timestamp)

    def _write_timestamp(self, timestamp: Any) -> None:
        fields = timestamp.signed.unrecognized_fields
        # Never back, whatever this machine's clock does: devices would take it for a replay.
        fields[SIGNED_AT] = max(int(time.time()), int(fields.get(SIGNED_AT, 0)))
        put(self._metadata / "timestamp.json", self._sign("timestamp", timestamp))
