"""Signatures that are collected from several machines, before anything is published.

Where a role's threshold asks for keys that are not all here, what is to be signed is put into one
file, ``staged.json`` of the fleet's folder. It goes to each machine that has a key, by whatever
brings files, is signed there, and comes back; merged, and complete, it is published.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf.errors import FleetError, OptionError
from edgeclf.fleet.disk import put_json
from edgeclf.fleet.orders import Order, read_order
from edgeclf.publishing.keys import check_packages

FILE = "staged.json"
ROLES = ("root", "targets")  # the others say what is newest, by keys that are where one publishes
_SCHEMA = "edgeclf.fleet.staged/1"


@dataclass(frozen=True)
class Staged:
    """What waits for signatures.

    Attributes:
        trusted: The root that devices trust now.
        metadata: What is to be signed, by role.
        signers: URIs of keys that the new root adds, by their ids.
    """

    trusted: Any
    metadata: Mapping[str, Any]
    signers: Mapping[str, str]

    @property
    def root(self) -> Any:
        """The root by which the targets will be checked."""
        return self.metadata.get("root", self.trusted)

    def signatures(self) -> dict[str, tuple[int, int]]:
        """How many valid ones each role has, and how many it needs."""
        return {role: (len(_valid(self, role)), needed(self, role)) for role in self.metadata}

    def complete(self) -> bool:
        """Whether nothing is missing."""
        return all(_verified(self, role) for role in self.metadata)

    def orders(self) -> list[Order]:
        """All orders as they will be, by their counters."""
        if "targets" not in self.metadata:
            return []
        targets = self.metadata["targets"].signed.targets
        found = [
            read_order(path, target.hashes["sha256"], target.length, target.custom)
            for path, target in targets.items()
        ]
        return sorted(found, key=lambda order: order.counter)

    def write(self, path: Path) -> None:
        """Writes it to a file."""
        put_json(path, {
            "schema": _SCHEMA, "trusted": self.trusted.to_dict(), "signers": dict(self.signers),
            **{role: metadata.to_dict() for role, metadata in self.metadata.items()},
        })  # fmt: skip


def read_staged(path: str | os.PathLike[str]) -> Staged:
    """Reads such a file.

    Raises:
        FleetError: It is none.
    """
    check_packages()
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata

    try:
        document = json.loads(Path(path).read_bytes())
        if document["schema"] != _SCHEMA:
            raise ValueError(f"schema {str(document['schema'])[:60]!r}")
        metadata = {r: Metadata.from_dict(document[r]) for r in ROLES if r in document}
        signers = {str(key): str(uri) for key, uri in document["signers"].items()}
        return Staged(Metadata.from_dict(document["trusted"]), metadata, signers)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RepositoryError) as exc:
        raise FleetError(
            f"{os.fspath(path)} holds nothing to sign: {type(exc).__name__} {str(exc)[:100]}. "
            f"Expected the {FILE} of a fleet's folder, as 'edgeclf fleet publish --stage' "
            "writes it.",
            "staged",
        ) from exc


def sign_staged(path: str | os.PathLike[str], signer: Any) -> Staged:
    """Signs whatever a key may sign, and writes it back.

    Args:
        path: Of the file.
        signer: Of securesystemslib.

    Raises:
        OptionError: The key counts for none of the roles.
        FleetError: It is no such file.
    """
    staged, signed = read_staged(path), []
    for role, metadata in staged.metadata.items():
        if any(signer.public_key.keyid in root.signed.roles[role].keyids
               for root in _roots(staged, role)):  # fmt: skip
            metadata.sign(signer, append=True)
            signed.append(role)
    if not signed:
        raise OptionError(
            f"The key {signer.public_key.keyid[:8]} counts for none of "
            f"{', '.join(staged.metadata)}, which are to be signed here."
        )
    staged.write(Path(path))
    return staged


def merge(staged: Staged, files: Iterable[str | os.PathLike[str]]) -> None:
    """Takes over what others have signed.

    Args:
        staged: What was staged here, which gets the signatures.
        files: The same as it came back.

    Raises:
        FleetError: A file is about something else.
    """
    for file in files:
        theirs = read_staged(file)
        for role, metadata in staged.metadata.items():
            other = theirs.metadata.get(role)
            if other is None or other.signed_bytes != metadata.signed_bytes:
                raise FleetError(
                    f"What {os.fspath(file)} says of {role} is not what is staged here. It was "
                    "staged before, or elsewhere: bring the file of this fleet's folder to be "
                    "signed.",
                    "mixed",
                )
            for keyid in _valid(theirs, role):
                metadata.signatures[keyid] = other.signatures[keyid]


def needed(staged: Staged, role: str) -> int:
    """How many signatures a role needs at least."""
    return max(int(root.signed.roles[role].threshold) for root in _roots(staged, role))


def _roots(staged: Staged, role: str) -> list[Any]:
    """Whose keys count: a new root is signed by the old root's keys, and by its own."""
    return [staged.trusted, staged.root] if role == "root" else [staged.root]


def _valid(staged: Staged, role: str) -> set[str]:
    metadata = staged.metadata[role]
    content, signatures = metadata.signed_bytes, metadata.signatures
    return {
        keyid
        for root in _roots(staged, role)
        for keyid in root.signed.get_verification_result(role, content, signatures).signed
    }


def _verified(staged: Staged, role: str) -> bool:
    metadata = staged.metadata[role]
    return all(
        root.signed.get_verification_result(
            role, metadata.signed_bytes, metadata.signatures
        ).verified
        for root in _roots(staged, role)
    )
