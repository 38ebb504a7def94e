"""Fetching by urllib3: metadata for tuf, and a model's file that goes on where it stopped."""

from __future__ import annotations

import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from edgeclf.errors import FleetError
from edgeclf.fleet.orders import Order
from edgeclf.system.files import sha256_of

_TIMEOUT_S = 20.0  # without a byte
_CHUNK_BYTES = 1 << 16
_PATIENCE_S, _SLOWEST_BYTES_PER_S = 60.0, 256  # slower is nobody's link
_SPARE_BYTES = 8 << 20  # of the disk, for everything else
_OK, _PARTIAL, _UNSATISFIABLE = 200, 206, 416


class Http(FetcherInterface):
    """Fetches, and counts.

    Attributes:
        requests: How many were sent.
        received_bytes: Of bodies.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        proxy = urllib.request.getproxies().get(parts.scheme)
        wants = proxy and not urllib.request.proxy_bypass(parts.hostname or "")
        options: dict[str, Any] = {"timeout": urllib3.Timeout(_TIMEOUT_S), "retries": 2}
        self._pool = (
            urllib3.ProxyManager(str(proxy), **options) if wants else urllib3.PoolManager(**options)
        )
        self._open: list[Any] = []
        self.requests = self.received_bytes = 0

    def close(self) -> None:
        """Closes the connections, those of answers too that nobody read to their end."""
        for answer in self._open:
            answer.close()
        self._pool.clear()

    def _fetch(self, url: str) -> Iterator[bytes]:
        """See `FetcherInterface`."""
        status, chunks = self.get(url)
        if status != _OK:
            raise DownloadHTTPError(f"{url} answers {status}", status)
        return _in_tufs_words(chunks)

    def get(self, url: str, start: int = 0) -> tuple[int, Iterator[bytes]]:
        """Status and body of what is at an address, from a byte on where the server can do that."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "edgeclf"}
        if start:
            headers["Range"] = f"bytes={start}-"
        self.requests += 1
        answer = self._pool.request("GET", url, headers=headers, preload_content=False)
        if answer.status not in (_OK, _PARTIAL):
            answer.read(_CHUNK_BYTES)  # so that the connection can be used again
        self._open = [each for each in self._open if not each.closed] + [answer]
        return answer.status, self._chunks(answer)

    def post(self, url: str, content: bytes) -> int:
        """Sends JSON, once, and gives the status; what else is answered is not read."""
        self.requests += 1
        answer = self._pool.request(
            "POST", url, body=content, preload_content=False, redirect=False, retries=False,
            headers={"Content-Type": "application/json", "User-Agent": "edgeclf"},
        )  # fmt: skip
        answer.close()
        return int(answer.status)

    def _chunks(self, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        begun, count = time.monotonic(), 0
        try:
            while chunk := answer.read1(_CHUNK_BYTES, decode_content=False):
                self.received_bytes += len(chunk)
                count += len(chunk)
                yield chunk
                took_s = time.monotonic() - begun
                if took_s > _PATIENCE_S and count < took_s * _SLOWEST_BYTES_PER_S:
                    raise SlowRetrievalError(f"it sends {count / took_s:.0f} bytes a second")
        finally:
            answer.close()


def _in_tufs_words(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """tuf looks for errors where it asks, and not where it reads what comes."""
    try:
        yield from chunks
    except urllib3.exceptions.HTTPError as exc:
        raise DownloadError(" ".join(str(exc).split())) from exc


def download(http: Http, url: str, order: Order, part: Path, most_bytes: int) -> None:
    """Brings an order's file, whole and with its hash, to `part`; goes on where that ends.

    Raises:
        FleetError: It is too large, there is no room, or what came is another file.
    """
    if order.size_bytes > most_bytes:
        raise FleetError(
            f"Order {order.counter} has {order.size_bytes:,} bytes, and this device takes "
            f"{most_bytes:,} at most. Publish a smaller file, or raise max_bytes in device.json.",
            "oversized",
        )
    mark = part.with_name(f"{part.name}.of")  # whose beginning `part` is
    if not mark.is_file() or mark.read_text() != order.sha256:
        part.unlink(missing_ok=True)
        mark.write_text(order.sha256)
    have = part.stat().st_size if part.is_file() else 0
    free = shutil.disk_usage(part.parent).free
    if order.size_bytes - have + _SPARE_BYTES > free:
        raise FleetError(
            f"Order {order.counter} needs {order.size_bytes - have:,} bytes and {_SPARE_BYTES:,} "
            f"to spare, and {free:,} are free in {part.parent}. Make room.",
            "no-room",
        )
    if have < order.size_bytes:
        with _asking(url):
            have = _bring(http, url, order, part, have)
    if have < order.size_bytes:
        raise FleetError(
            f"{url} ended after {have:,} of {order.size_bytes:,} bytes. The next run goes on from "
            "there.",
            "truncated",
        )
    if have > order.size_bytes or sha256_of(part) != order.sha256:
        part.unlink()
        what = "longer" if have > order.size_bytes else "another one: its SHA-256 differs"
        raise FleetError(
            f"{url} is not the file that was signed but {what}. Somebody changed it on the server "
            "or on the way; publish it again.",
            "swapped",
        )


def _bring(http: Http, url: str, order: Order, part: Path, have: int) -> int:
    status, chunks = http.get(url, have)
    if status == _UNSATISFIABLE:  # there is nothing behind what is here
        return have
    if status not in (_OK, _PARTIAL):
        raise FleetError(f"{url} answers {status}. The next run tries again.", "away")
    have = have if status == _PARTIAL else 0
    with open(part, "ab" if have else "wb") as file:
        try:
            for chunk in chunks:
                have += len(chunk)
                if have > order.size_bytes:
                    break
                file.write(chunk)
        except (urllib3.exceptions.ProtocolError, SlowRetrievalError):  # cut off; what came stays
            pass
        finally:
            file.flush()
            os.fsync(file.fileno())
    return have


@contextmanager
def _asking(url: str) -> Iterator[None]:
    try:
        yield
    except urllib3.exceptions.HTTPError as exc:
        raise FleetError(
            f"{url} stopped: {' '.join(str(exc).split())[:200]}. The next run goes on from there.",
            "away",
        ) from exc
