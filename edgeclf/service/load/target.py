"""What is sent, and where: a URL whose route takes the bytes of a picture."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgeclf.datasets.photos import find_unlabelled
from edgeclf.errors import OptionError, ServiceError

_MOST_BYTES = 256 * 2**20  # of the pictures, which are all held in memory


@dataclass(frozen=True)
class Target:
    """A server's address, and the requests for it, ready to be sent.

    Attributes:
        url: As it was given.
        family: Of the socket.
        address: Where it connects to.
        requests: Whole HTTP requests; sent in turn.
        sizes: Bytes of each picture.
        sha256: Of the pictures.
        host: What the requests call it.
        headers: Those of each request beside what HTTP needs.
    """

    url: str
    family: int
    address: Any
    requests: tuple[bytes, ...]
    sizes: tuple[int, ...]
    sha256: str
    host: str
    headers: str

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        return self.family in (socket.AF_INET, socket.AF_INET6) and (
            str(self.address[0]) == "::1" or str(self.address[0]).startswith("127.")
        )

    def get(self, path: str) -> bytes:
        """The request for another of the server's addresses."""
        return f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n{self.headers}\r\n".encode()


def make_target(
    url: str, images: str | os.PathLike[str], key_file: str | os.PathLike[str] | None = None
) -> Target:
    """Reads the pictures and looks the server up.

    Args:
        url: ``http://HOST[:PORT]/PATH``; the route takes the raw bytes of an image file by POST.
        images: A folder of pictures, in it or in folders within.
        key_file: Holds the key that is sent as ``Authorization: Bearer``; None for none.

    Raises:
        OptionError: The URL is none of that kind, or the file holds no key.
        DataError: There are no pictures.
        ServiceError: Nobody knows the host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as exc:
        raise OptionError(f"The URL {url!r} cannot be read: {exc}.") from exc
    if parts.scheme != "http" or not parts.hostname or not url.isascii() or " " in url:
        raise OptionError(
            f"The URL is {url!r}; expected http://HOST:PORT/PATH, such as "
            "http://127.0.0.1:8080/classify. Of a server behind TLS, test the address behind the "
            "proxy: encryption would be measured with it."
        )
    pictures = _read(images)
    host = parts.netloc.rpartition("@")[2]
    headers = "" if key_file is None else f"Authorization: Bearer {_key(key_file)}\r\n"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}"
        "Content-Type: application/octet-stream\r\n"
    )
    try:
        family, _, _, _, address = socket.getaddrinfo(
            parts.hostname, port, type=socket.SOCK_STREAM
        )[0]
    except OSError as exc:
        raise ServiceError(f"There is no host {parts.hostname!r}: {exc.strerror}.") from exc
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(picture)
    return Target(
        url,
        family,
        address,
        tuple(
            f"{head}Content-Length: {len(picture)}\r\n\r\n".encode() + picture
            for picture in pictures
        ),
        tuple(map(len, pictures)),
        digest.hexdigest(),
        host,
        headers,
    )


def _read(folder: str | os.PathLike[str]) -> Sequence[bytes]:
    """Pictures from all of the folder, as many as fit."""
    paths = find_unlabelled(folder).paths
    total = sum(path.stat().st_size for path in paths)
    step = max(1, -(-total // _MOST_BYTES))
    return [path.read_bytes() for path in paths[::step]]


def _key(path: str | os.PathLike[str]) -> str:
    try:
        key = Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as exc:
        raise OptionError(f"Cannot read a key from {path}: {exc}.") from exc
    if not key.isprintable() or not key:
        raise OptionError(f"{path} holds no key; expected one line.")
    return key
