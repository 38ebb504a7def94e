"""What a publisher does: orders a file for a group, widens that, and takes it back."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.errors import FleetError, OptionError, QualityGateError, VerificationError
from edgeclf.fleet.orders import ALL, NAME, Order
from edgeclf.publishing.keys import ROLES
from edgeclf.publishing.overview import seen_of
from edgeclf.publishing.reports import Report
from edgeclf.publishing.repository import Repository
from edgeclf.registry.address import parse_address, tracking_uri_of
from edgeclf.registry.gates import Asked, Gate, judge
from edgeclf.registry.source import Cache, open_source

_MODELS = "models:/"


@dataclass(frozen=True)
class Terms:
    """What a device has to find before it keeps a file.

    Attributes:
        max_p99_ms: In which 99 of 100 pictures must be answered on the device.
        max_memory_mb: Of the process that answers, at its peak.
        min_agreement: Share of the device's kept frames that it answers as the model before, 0..1.
        probation_minutes: How long it runs before it is committed.
        probation_starts: How often what uses it may start meanwhile.
        confirm: Whether it is committed only where its user says that it does well.
    """

    max_p99_ms: float | None = None
    max_memory_mb: float | None = None
    min_agreement: float | None = None
    probation_minutes: int = 10
    probation_starts: int = 3
    confirm: bool = False

    def limits(self) -> dict[str, int]:
        """Those that were set, as `Order.limits`."""
        for name in ("max_p99_ms", "max_memory_mb", "min_agreement"):
            value = getattr(self, name)
            if value is not None and not 0 < value < (math.inf if name[:3] == "max" else 1.00001):
                raise OptionError(f"{name} is {value}; expected more than 0, and a share up to 1.")
        given = (("max_p99_us", self.max_p99_ms, 1000), ("max_memory_kb", self.max_memory_mb, 1000),
                 ("min_agreement", self.min_agreement, ALL))  # fmt: skip
        return {name: round(value * factor) for name, value, factor in given if value is not None}

    def probation(self) -> dict[str, int]:
        """As `Order.probation`."""
        if self.probation_minutes < 0 or self.probation_starts < 1:
            raise OptionError(
                f"A probation of {self.probation_minutes} minutes and {self.probation_starts} "
                "starts cannot be; expected 0 or more, and 1 or more."
            )
        return {"minutes": self.probation_minutes, "starts": self.probation_starts,
                "confirm": int(self.confirm)}  # fmt: skip


@dataclass(frozen=True)
class Proof:
    """What a group's reports must show before an order goes further.

    Attributes:
        reports: The newest one of each device, see `edgeclf.publishing.reports`.
        group: Which group's.
        devices: How many of them must have committed it. Not one may have found it bad, or have
            fallen silent for a day while it was on trial there.
        signed: Whether only devices whose signature was compared count among them.
    """

    reports: Sequence[Report]
    group: str
    devices: int = 1
    signed: bool = False

    def check(self, order: Order) -> None:
        """Raises a `QualityGateError` where it is not shown."""
        seen = seen_of(order, self.group, self.reports)
        believed = [each for each in self.reports if each.signed or not self.signed]
        running = seen_of(order, self.group, believed).running
        if seen.bad or seen.lost or running < self.devices:
            bad = "".join(f" {device}: {why}" for device, why in list(seen.bad.items())[:3])
            lost = f" Silent on trial: {', '.join(sorted(seen.lost)[:3])}." if seen.lost else ""
            raise QualityGateError(
                f"Order {order.counter} goes no further: of {seen.devices} devices of "
                f"{self.group!r} that reported, {running} have committed it (asked: "
                f"{self.devices}{' that sign' * self.signed}), {len(seen.bad)} found it bad and "
                f"{len(seen.lost)} fell silent on trial.{bad}{lost}"
            )


@dataclass(frozen=True)
class Published:
    """An order that was signed.

    Attributes:
        order: What it says.
        gates: What the file was asked on this machine; empty where it was known.
    """

    order: Order
    gates: tuple[Gate, ...] = field(default_factory=tuple)

    def text(self) -> str:
        """For people."""
        order = self.order
        groups = ", ".join(f"{share / ALL:.2%} of {group}" for group, share in order.groups.items())
        lines = [
            f"Order {order.counter}: {order.file_name} ({order.size_bytes:,} bytes) for {groups}"
        ]
        if order.rollback is not None:
            lines[0] += f"; back from {order.rollback['from']} to {order.rollback['to']}"
        lines += [f"  {gate.name:<12} {gate.text}" for gate in self.gates]
        return "\n".join(lines)


class Fleet:
    """A fleet, for its publisher.

    Args:
        folder: Where its repository is.
        stage: Whether what is ordered waits for the signatures of other machines.

    Examples:
        ```python
        fleet = Fleet("fleet")
        fleet.publish("birds.int8.tflite", name="birds", group="canary")
        fleet.promote("birds", to="stable", share=0.1)
        ```
    """

    def __init__(self, folder: str | os.PathLike[str], *, stage: bool = False) -> None:
        self.repository = Repository(folder, stage=stage)

    def publish(
        self,
        file: str | os.PathLike[str],
        *,
        name: str,
        group: str,
        share: float = 1.0,
        asked: Asked | None = None,
        terms: Terms | None = None,
        tracking_uri: str | None = None,
    ) -> Published:
        """Orders a file for a group, if it proves itself on this machine.

        Args:
            file: An artifact, or ``models:/NAME@ALIAS`` of a registry.
            name: Of the model, as devices know it.
            group: Of devices.
            share: Of the group, 0..1.
            asked: What it has to show here besides its certificate, against the group's present
                model.
            terms: What devices have to find.
            tracking_uri: Where the registry is, as for `edgeclf.register`.

        Raises:
            VerificationError: Its certificate does not hold here; nothing was published, likewise
                after the others.
            QualityGateError: It is worse than the present model, or too slow.
            ArtifactError: It is no artifact, or damaged.
            FleetError: It is there already, or keys cannot be reached.
        """
        _check_words(name=name, group=group)
        terms, asked = terms or Terms(), asked or Asked()
        groups = {group: _parts(share)}
        limits, probation = terms.limits(), terms.probation()
        with tempfile.TemporaryDirectory(prefix="edgeclf-") as folder:
            artifact = _load(file, tracking_uri, folder)
            with self.repository.changing():
                orders = self.repository.orders(name)
                for order in orders.values():
                    if order.sha256 == artifact.sha256:
                        raise FleetError(
                            f"This very file is order {order.counter} already. Widen it with "
                            "'edgeclf fleet promote', or return to it with 'edgeclf fleet "
                            "rollback'.",
                            "exists",
                        )
                gates = tuple(judge(artifact, self._present(orders, group), asked))
                _refuse_bad(gates[-1], name, group)
                counter = self.repository.last_counter() + 1
                file_name = f"{counter}.{name}.{artifact.metadata.precision}.{artifact.format}"
                order = Order(
                    f"{name}/{file_name}", artifact.sha256, artifact.size_bytes, name, counter,
                    str(artifact.metadata.version), groups, limits, probation,
                )  # fmt: skip
                self.repository.write_orders(order, content=artifact.content)
        return Published(order, gates)

    def promote(
        self,
        name: str,
        *,
        to: str,
        counter: int | None = None,
        share: float = 1.0,
        proof: Proof | None = None,
    ) -> Published:
        """Orders for another group, or a larger share of one, what was ordered before.

        Args:
            name: Of the model.
            to: The group.
            counter: Which order; the newest one by default.
            share: Of the group, 0..1; a smaller one than now halts a rollout where it is.
            proof: What reports must show; None asks for nothing.

        Raises:
            QualityGateError: They do not show it.
            FleetError: There is no such order, or the group has a later one.
        """
        _check_words(name=name, group=to)
        with self.repository.changing():
            order = self._order(name, counter)
            newer = newest_for(self.repository.orders(name), to)
            if newer is not None and newer.counter > order.counter:
                raise FleetError(
                    f"{to!r} has order {newer.counter} already, and a device never goes from a "
                    f"later order to order {order.counter} by itself. Order it to: 'edgeclf fleet "
                    "rollback'.",
                    "old-content",
                )
            if proof is not None:
                proof.check(order)
            order = replace(order, groups={**order.groups, to: _parts(share)})
            self.repository.write_orders(order)
        return Published(order)

    def rollback(
        self, name: str, *, group: str, to: int | None = None, reason: str = ""
    ) -> Published:
        """Orders a group to return to a file that it had: a signed statement with its own counter.

        Args:
            name: Of the model.
            group: Of devices, all of it.
            to: The order to return to; by default the one before the group's newest.
            reason: Why, for those who read it later.

        Raises:
            FleetError: There is nothing to return from or to.
        """
        _check_words(name=name, group=group)
        with self.repository.changing():
            orders = self.repository.orders(name)
            mine = [order for order in orders.values() if order.groups.get(group, 0) > 0]
            if not mine:
                raise FleetError(f"Nothing of {name!r} is ordered for {group!r}.", "no-order")
            newest = mine[-1]
            before = [order for order in mine if order.sha256 != newest.sha256]
            last = before[-1].counter if before else None
            target = orders.get(to or last or 0)
            if target is None or target.sha256 == newest.sha256:
                raise FleetError(
                    f"There is no order to return to from {newest.counter}: expected one of "
                    f"{', '.join(str(order.counter) for order in before) or 'none'}.",
                    "no-order",
                )
            counter = self.repository.last_counter() + 1
            path = f"{name}/{counter}.{target.file_name.partition('.')[2]}"
            order = replace(
                target, path=path, counter=counter, groups={group: ALL},
                rollback={"from": newest.counter, "to": target.counter, "reason": reason[:500]},
            )  # fmt: skip
            content = self.repository.file_of(target).read_bytes()
            self.repository.write_orders(order, content=content)
        return Published(order)

    def key(
        self,
        role: str,
        *,
        uri: str | None = None,
        public: str | os.PathLike[str] | None = None,
        remove: str | None = None,
        threshold: int | None = None,
        new: bool = False,
    ) -> Mapping[str, Any]:
        """Changes who signs a role; devices follow, as the new root is signed by the old keys too.

        Args:
            role: ``root``, ``targets``, ``snapshot`` or ``timestamp``.
            uri: A key that is kept elsewhere, as securesystemslib writes it; none for a key on
                another machine, which signs what is staged.
            public: The public half of either, a PEM file.
            remove: A key's id, or its beginning, which no longer counts.
            threshold: How many signatures the role needs.
            new: Whether to make a new Ed25519 key.

        Returns:
            The role's keys and threshold now.

        Raises:
            OptionError: There is no such role or key, or a threshold that cannot be met.
        """
        if role not in ROLES:
            raise OptionError(f"There is no role {role!r}; expected one of {', '.join(ROLES)}.")

        def change(root: Any) -> dict[str, str]:
            wanted, added = root.roles[role], {}
            if new or uri is not None or public is not None:
                made = self.repository
                key, place = made.new_key(role) if new else made.key_at(uri, public)
                root.add_key(key, role)
                added[key.keyid] = place
            if remove is not None:
                found = [keyid for keyid in wanted.keyids if keyid.startswith(remove)]
                if len(found) != 1:
                    raise OptionError(
                        f"{remove!r} is the beginning of {len(found)} keys of {role}."
                    )
                root.revoke_key(found[0], role)
            number = wanted.threshold if threshold is None else threshold
            if not 1 <= number <= len(wanted.keyids):
                raise OptionError(
                    f"{role!r} would have {len(wanted.keyids)} keys and need {number} signatures. "
                    "Add keys first, or ask for fewer."
                )
            wanted.threshold = number
            return added

        with self.repository.changing():
            wanted = self.repository.change_keys(role, change).signed.roles[role]
        return {"role": role, "keys": list(wanted.keyids), "threshold": wanted.threshold}

    def _order(self, name: str, counter: int | None) -> Order:
        orders = self.repository.orders(name)
        if not orders or (counter is not None and counter not in orders):
            raise FleetError(
                f"There is no order {counter or 'at all'} of {name!r}; expected one of "
                f"{', '.join(map(str, orders)) or 'none: publish first'}.",
                "no-order",
            )
        return orders[max(orders) if counter is None else counter]

    def _present(self, orders: Mapping[int, Order], group: str) -> Artifact | None:
        order = newest_for(orders, group)
        return None if order is None else load_artifact(self.repository.file_of(order))


def newest_for(orders: Mapping[int, Order], group: str) -> Order | None:
    """The newest order that a group has any share in."""
    mine = [order for order in orders.values() if order.groups.get(group, 0) > 0]
    return max(mine, key=lambda order: order.counter, default=None)


def _load(file: str | os.PathLike[str], tracking_uri: str | None, folder: str) -> Artifact:
    if not os.fspath(file).startswith(_MODELS):
        return load_artifact(file)
    source = open_source(tracking_uri_of(tracking_uri))
    return load_artifact(
        Cache(folder).fetch(source, source.resolve(parse_address(os.fspath(file))))
    )


def _refuse_bad(gate: Gate, name: str, group: str) -> None:
    if gate.passed is False:
        error = VerificationError if gate.name == "certificate" else QualityGateError
        raise error(
            f"{name!r} is not published for {group!r}. {gate.name.capitalize()}: {gate.text}"
        )


def _parts(share: float) -> int:
    if not 0 <= share <= 1:
        raise OptionError(f"The share is {share}; expected 0 to 1.")
    return round(share * ALL)


def _check_words(**words: str) -> None:
    for what, word in words.items():
        if not NAME.fullmatch(word):
            raise OptionError(
                f"The {what} is {word!r}; expected up to 64 letters, digits, '_' and '-'."
            )
