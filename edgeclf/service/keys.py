"""The keys of a service: a file with the hash of each, and what a key's holder may do.

A key is 256 random bits, so its plain SHA-256 gives nothing away: there is no list of likely keys
to try, which is all that a salt or a slow hash such as scrypt would hinder. A slow one would also
let strangers spend the server's time.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import math
import os
import re
import secrets
import stat
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from edgeclf.errors import ServiceError
from edgeclf.service.config import is_loopback
from edgeclf.service.problem import Problem
from edgeclf.system.files import replacing

Role = Literal["classify", "admin"]

_PREFIX = "edgeclf_"  # by which a key that got into a log or a repository is found
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MOST_BYTES = 2**20
_HEAD = "# name role sha256-of-the-key [requests/s [burst]]\n"
_HINT = "expected 'NAME ROLE SHA256 [REQUESTS/S [BURST]]', as --new-key writes it"


@dataclass(frozen=True)
class Key:
    """One line of the file.

    Attributes:
        name: Whose it is, for people and logs.
        role: ``admin`` may change what is served, too.
        sha256: Of the key.
        rate: Requests a second that it may make in the long run; None for any number.
        burst: Requests that it may make at once when it made none for a while.
    """

    name: str
    role: Role
    sha256: bytes
    rate: float | None = None
    burst: float = 1.0


def require_admin(scope: MutableMapping[str, Any]) -> None:
    """Refuses whoever may only classify; each route that changes something calls it first.

    Where the service has no keys, a client on the same machine may do everything. A page of a web
    site in its browser is none: neither one that names its origin, nor one that reaches this
    machine by a name of its own. Nor is who comes through a proxy.

    Raises:
        Problem: 403; says who may.
    """
    role = scope.get("edgeclf.role")
    if role == "admin" or (role is None and _is_local(scope)):
        return
    raise Problem(
        403, "not_admin",
        "This changes what is served. It takes a key with the role admin or, where the service "
        "has no keys, a client on the same machine: no proxy, and no web site's page.",
    )  # fmt: skip


def _is_local(scope: MutableMapping[str, Any]) -> bool:
    client = scope.get("client")
    if client is None or not is_loopback(client[0]):
        return False
    for name, value in scope["headers"]:
        if name in _FORWARDED:
            return False
        if name in (b"host", b"origin"):
            try:
                host = urlsplit(value if name == b"origin" else b"//" + value).hostname
            except ValueError:
                return False
            if not host or not is_loopback(host.decode("latin-1")):
                return False
    return True


def read_keys(path: str | os.PathLike[str]) -> tuple[Key, ...]:
    """Reads a file of keys.

    Raises:
        ServiceError: It cannot be read, anybody may write to it, it is damaged, or empty.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                raise ServiceError(
                    f"Every account of this machine may write to the file of keys {path}, and so "
                    f"let itself in. Take that away: chmod 600 {path}"
                )
            content = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise ServiceError(
            f"Cannot read the file of keys {path}: {exc.strerror}. Make one with "
            f"'edgeclf serve --new-key NAME --keys {path}'."
        ) from exc
    keys: dict[str, Key] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        key = _key(words)
        if key is None or len(content) > _MOST_BYTES:
            raise ServiceError(f"Line {number} of the file of keys {path} is no key; {_HINT}.")
        if key.name in keys:
            raise ServiceError(f"The file of keys {path} has two keys named {key.name!r}.")
        keys[key.name] = key
    if not keys:
        raise ServiceError(
            f"The file of keys {path} holds none. Make one with 'edgeclf serve --new-key NAME "
            f"--keys {path}'."
        )
    return tuple(keys.values())


def _key(words: Sequence[str]) -> Key | None:
    if not 3 <= len(words) <= 5 or not _NAME.fullmatch(words[0]) or words[1] not in get_args(Role):
        return None
    name, role, digest, *limits = words
    try:
        sha256 = bytes.fromhex(digest)
        numbers = [float(word) for word in limits]
    except ValueError:
        return None
    if len(sha256) != 32 or not all(0 < number < math.inf for number in numbers):
        return None
    rate = numbers[0] if numbers else None
    # Without a burst of its own, a second's worth may come at once.
    burst = max(1.0, numbers[1] if len(numbers) > 1 else rate or 1.0)
    return Key(name, "admin" if role == "admin" else "classify", sha256, rate, burst)


def find_key(keys: Sequence[Key], given: bytes) -> Key | None:
    """Whose key it is; the time that it takes says nothing of how much of it is right."""
    digest = hashlib.sha256(given).digest()
    found = None
    for key in keys:  # to the end, whatever is found
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


def add_key(path: str | os.PathLike[str], name: str, role: Role = "classify",
            rate: float | None = None) -> str:  # fmt: skip
    """Makes a key and writes its hash to the file, which is made if there is none.

    Args:
        path: The file; whatever happens, a reader finds all of it or what it was before.
        name: Whose key it is.
        role: What it lets its holder do.
        rate: Requests a second; None for any number.

    Returns:
        The key, which is kept nowhere.

    Raises:
        ServiceError: The file cannot be written or is damaged, or has that name already.
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    words = [name, role, hashlib.sha256(key.encode()).hexdigest()]
    words += [] if rate is None else [f"{rate:g}"]
    if _key(words) is None:
        raise ServiceError(
            f"A key cannot be named {name!r} with {rate} requests/s; expected 1 to 64 letters, "
            "digits, '.', '_' and '-', and a rate above 0."
        )
    try:
        _append(Path(os.path.realpath(path)), name, " ".join(words))
    except OSError as exc:
        raise ServiceError(
            f"Cannot write the file of keys {path}: {exc.strerror}. Name one in a folder that "
            "this account may write to."
        ) from exc
    return key


def _append(path: Path, name: str, line: str) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # of the folder, as the file itself is replaced
        before = _HEAD
        if path.exists():
            if name in {key.name for key in read_keys(path)}:
                raise ServiceError(f"The file of keys {path} has a key named {name!r} already.")
            before = path.read_text(encoding="utf-8")
        with replacing(path, mode=0o600) as temporary:
            temporary.write_text(f"{before.rstrip()}\n{line}\n", encoding="utf-8")
    finally:
        os.close(folder)
