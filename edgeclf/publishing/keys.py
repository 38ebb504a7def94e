"""Keys that sign: Ed25519 files of our own making, or any signer that securesystemslib knows."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeclf.errors import FleetError, MissingDependencyError, OptionError
from edgeclf.system.files import replacing

ROLES = ("root", "targets", "snapshot", "timestamp")
_FILE = "file2:"  # securesystemslib's scheme for a private key in a file
ELSEWHERE = "elsewhere:"  # the private key is on another machine, which signs what is staged
_PRIVATE = 0o600


def check_packages() -> None:
    """Names the extra where what signs is missing.

    Raises:
        MissingDependencyError: tuf, securesystemslib or cryptography is not installed.
    """
    for name in ("tuf", "securesystemslib", "cryptography"):
        try:
            import_module(name)
        except ModuleNotFoundError as exc:
            raise MissingDependencyError(name, "publish", "'edgeclf fleet'") from exc


def new_key(folder: Path, role: str) -> tuple[Any, str]:
    """Makes an Ed25519 key in a file that its owner alone reads.

    Args:
        folder: Of the fleet, where it becomes ``keys/ROLE-ID.pem``.
        role: What it will sign.

    Returns:
        The public key, and the URI of the private one, relative to the fleet's folder.
    """
    from securesystemslib.signer import CryptoSigner

    signer = CryptoSigner.generate_ed25519()
    file = f"keys/{role}-{signer.public_key.keyid[:8]}.pem"
    (folder / "keys").mkdir(mode=0o700, exist_ok=True)
    with replacing(folder / file, mode=_PRIVATE) as temporary:
        temporary.write_bytes(signer.private_bytes)
    return signer.public_key, f"{_FILE}{file}"


def new_key_file(path: str | os.PathLike[str]) -> Path:
    """Makes an Ed25519 key on a machine that only signs.

    Args:
        path: Where the private half goes; it must not be there.

    Returns:
        The file of the public half, which the publisher needs: ``FILE.pub``.

    Raises:
        OptionError: There is such a file.
    """
    from cryptography.hazmat.primitives import serialization
    from securesystemslib.signer import CryptoSigner

    private, public = Path(path), Path(f"{os.fspath(path)}.pub")
    if private.exists() or public.exists():
        raise OptionError(f"{private} or {public} is there already, and stays as it is.")
    signer = CryptoSigner.generate_ed25519()
    with replacing(private, mode=_PRIVATE) as temporary:
        temporary.write_bytes(signer.private_bytes)
    key = serialization.load_pem_private_key(signer.private_bytes, None).public_key()
    public.write_bytes(key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ))  # fmt: skip
    return public


def signer_in(path: str | os.PathLike[str]) -> Any:
    """What signs with a private key in a PEM file.

    Raises:
        OptionError: It is none.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        return CryptoSigner(load_pem_private_key(Path(path).read_bytes(), None))
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise OptionError(f"Cannot read the private key {os.fspath(path)!r}: {exc}") from exc


def key_at(uri: str | None, public: str | os.PathLike[str] | None) -> tuple[Any, str]:
    """A key that is kept elsewhere: in a file, an HSM, a cloud's key service...

    Args:
        uri: As securesystemslib writes it, such as ``hsm:2`` or ``gcpkms:projects/...``; None for
            one on a machine of its own.
        public: A file with the public half, PEM.

    Raises:
        OptionError: No signer is known by that URI, or the public half cannot be read.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, SSlibKey

    uri = uri or ELSEWHERE
    scheme = uri.partition(":")[0]
    if scheme not in SIGNER_FOR_URI_SCHEME and uri != ELSEWHERE:
        raise OptionError(
            f"No signer is known by {uri!r}; expected one of "
            f"{', '.join(sorted(SIGNER_FOR_URI_SCHEME))}, as in 'file2:/media/usb/root.pem'."
        )
    if public is None:
        raise OptionError(f"The public half of {uri!r} is needed as well: --public FILE, in PEM.")
    try:
        key = SSlibKey.from_crypto(load_pem_public_key(Path(public).read_bytes()))
    except (OSError, ValueError, UnsupportedAlgorithm) as exc:
        raise OptionError(f"Cannot read the public key {os.fspath(public)!r}: {exc}") from exc
    return key, uri


def signer_of(folder: Path, uri: str, key: Any) -> Any:
    """What signs with a key.

    Raises:
        FleetError: The private key cannot be reached from here.
    """
    from securesystemslib.signer import Signer

    if uri == ELSEWHERE:
        raise FleetError(f"The private key {key.keyid[:8]} is on another machine.", "no-key")
    if uri.startswith(_FILE) and not Path(uri.removeprefix(_FILE)).is_absolute():
        uri = f"{_FILE}{(folder / uri.removeprefix(_FILE)).resolve()}"
    try:
        return Signer.from_priv_key_uri(uri, key)
    except Exception as exc:  # each kind of signer raises what its library does
        raise FleetError(
            f"The private key {key.keyid[:8]} cannot be used from {uri}: "
            f"{' '.join(str(exc).split())}. Bring it there (a medium that is not in, a device that "
            "is not connected), or replace it: edgeclf fleet key.",
            "no-key",
        ) from exc
