"""An alias goes to a version that has shown that it may have it, and the registry keeps why."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.errors import QualityGateError, RegistryError, VerificationError
from edgeclf.registry.address import Address
from edgeclf.registry.client import ClientSource, asking, is_missing
from edgeclf.registry.gates import Asked, Gate, judge
from edgeclf.registry.source import Cache
from edgeclf.registry.tags import PROMOTED, REFUSED
from edgeclf.system.cpu import cpu_model

_MOST_TAG = 4_500  # MLflow takes 5,000 characters


@dataclass(frozen=True)
class Promotion:
    """An alias that was set.

    Attributes:
        name: The registered model's name.
        version: What the alias names now.
        alias: The alias.
        before: What it named before; None where it was new.
        gates: What was asked, and what was found.
        at: When, in UTC as ISO 8601 writes it.
    """

    name: str
    version: str
    alias: str
    before: str | None
    gates: tuple[Gate, ...]
    at: str

    def text(self) -> str:
        """The report, for people."""
        instead = "" if self.before is None else f", which named version {self.before}"
        head = f"models:/{self.name}@{self.alias} names version {self.version} now{instead}"
        return "\n".join([head, *map(_line, self.gates)])


def promote_version(
    source: ClientSource, address: Address, version: str, asked: Asked
) -> Promotion:
    """Sets an alias if the version shows what is asked.

    MLflow has no way to set an alias only if it still names what it did. So it is read again right
    before it is set, and right after. Of two that set it within that moment the later one's write
    stands; the earlier one is told if it looks again after that write, and is not if before.

    Args:
        source: The registry.
        address: The alias.
        version: Who is to have it.
        asked: What it has to show besides its certificate.

    Raises:
        VerificationError: The certificate does not hold here. The alias is as it was, and the
            version's tags say why; likewise after the next one.
        QualityGateError: It is worse than the present version, or too slow.
        RegistryError: The registry is away, a file in it is damaged, or somebody else set the
            alias meanwhile.
    """
    client, uri = source.client, source.uri
    before = current(source, address)
    with tempfile.TemporaryDirectory(prefix="edgeclf-") as folder:
        candidate = _load(source, address.name, version, folder)
        present = None
        if before is not None and before != version:
            present = _load(source, address.name, before, folder)
        gates = tuple(judge(candidate, present, asked))
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record = {"at": at, "before": before, "cpu": cpu_model(), "sha256": candidate.sha256}
    if gates[-1].passed is False:
        with asking(uri):
            client.set_model_version_tag(
                address.name, version, f"{REFUSED}.{address.alias}", _to_tag(record, gates)
            )
        raise _refusal(address, version, before, gates[-1])
    _expect(source, address, before, "while this one was tested, so that it was compared with "
            "another version than it would replace. Promote again")  # fmt: skip
    with asking(uri):
        client.set_registered_model_alias(address.name, address.alias, version)
    _expect(source, address, version, "at the same moment, and theirs is what stands. Look which "
            "one is wanted, and promote that again")  # fmt: skip
    with asking(uri):
        client.set_model_version_tag(
            address.name, version, f"{PROMOTED}.{address.alias}", _to_tag(record, gates)
        )
    return Promotion(address.name, version, address.alias, before, gates, at)


def current(source: ClientSource, address: Address) -> str | None:
    """What an alias names; None where it is new."""
    try:
        with asking(source.uri):
            found = source.client.get_registered_model(address.name)
    except RegistryError as exc:
        if is_missing(exc):
            raise RegistryError(
                f"The registry at {source.uri} has no model {address.name!r}. Register a file "
                f"first: edgeclf register FILE --name {address.name}"
            ) from exc
        raise
    number = found.aliases.get(address.alias)
    return None if number is None else str(number)


def _load(source: ClientSource, name: str, version: str, folder: str) -> Artifact:
    return load_artifact(Cache(folder).fetch(source, source.entry(name, version)))


def _expect(source: ClientSource, address: Address, wanted: str | None, how: str) -> None:
    found = current(source, address)
    if found != wanted:
        named = "nothing" if found is None else f"version {found}"
        raise RegistryError(
            f"Somebody else changed {address}: it names {named}, and version {wanted} was "
            f"expected. That happened {how}."
        )


def _refusal(address: Address, version: str, before: str | None, gate: Gate) -> Exception:
    error = VerificationError if gate.name == "certificate" else QualityGateError
    stays = "names nobody still" if before is None else f"still names version {before}"
    return error(
        f"Version {version} of {address.name!r} does not get the alias {address.alias!r}, which "
        f"{stays}. {gate.name.capitalize()}: {gate.text}"
    )


def _line(gate: Gate) -> str:
    verdict = {True: "holds", False: "does not hold", None: "-"}[gate.passed]
    return f"  {gate.name:<12} {verdict:<14} {gate.text}"


def _to_tag(record: dict[str, str | None], gates: tuple[Gate, ...]) -> str:
    text = json.dumps({**record, "gates": [gate.entry() for gate in gates]})
    if len(text) <= _MOST_TAG:
        return text
    short = [{**gate.entry(), "text": gate.text[:500], "figures": {}} for gate in gates]
    return json.dumps({**record, "gates": short})[:_MOST_TAG]
