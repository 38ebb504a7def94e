"""A device's own Ed25519 key, by which its reports are known to be its own."""

from __future__ import annotations

import os
from pathlib import Path

from edgeclf.errors import FleetError
from edgeclf.fleet.disk import put

FILE = "device.key"
_SEED_BYTES = 32


def make_key(folder: Path) -> str:
    """Makes a device's key, which its owner alone reads; one that is there stays.

    Returns:
        The public half, hex.
    """
    if read_seed(folder) is None:
        with open(folder / f".{FILE}.new", "wb", opener=_private):
            pass  # so that `put` writes to a file that nobody else may read
        put(folder / FILE, os.urandom(_SEED_BYTES).hex().encode())
    seed = read_seed(folder)
    assert seed is not None
    return public_of(seed).hex()


def read_seed(folder: Path) -> bytes | None:
    """A device's private key; None where it has none.

    Raises:
        FleetError: The file is no key.
    """
    try:
        seed = bytes.fromhex((folder / FILE).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise FleetError(
            f"{folder / FILE} is no key ({exc}); expected {_SEED_BYTES} bytes in hex. Make a new "
            "one with 'edgeclf update FOLDER ... --sign' and enroll the device by it again.",
            "no-key",
        ) from exc
    if len(seed) != _SEED_BYTES:
        raise FleetError(f"{folder / FILE} has {len(seed)} bytes, and a key has 32.", "no-key")
    return seed


def public_of(seed: bytes) -> bytes:
    """The public half, 32 bytes."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError:  # a device may do without compiled code
        from securesystemslib._vendor.ed25519.ed25519 import publickey_unsafe

        return bytes(publickey_unsafe(seed))
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign(seed: bytes, message: bytes) -> bytes:
    """The signature of a message, 64 bytes."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError:  # takes a time that depends on the key, which nobody here can measure
        from securesystemslib._vendor.ed25519.ed25519 import signature_unsafe

        return bytes(signature_unsafe(message, seed, public_of(seed)))
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
