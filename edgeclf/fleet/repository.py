"""The publisher's repository, asked by TUF: only what is signed, new and whole comes through.

tuf does the cryptography and the order of checks; here its errors get our words, each its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.errors import FleetError, MissingDependencyError
from edgeclf.fleet.disk import sync_folder
from edgeclf.fleet.orders import SIGNED_AT, Order, read_order

if TYPE_CHECKING:
    from edgeclf.fleet.http import Http

_CLOCK_S = 86_400  # that a device's clock may be behind the publisher's
_SIGNED_BY = re.compile(r"signed by (\d+)/(\d+) keys")


@dataclass(frozen=True)
class Signed:
    """What a repository says now.

    Attributes:
        orders: Of the model that was asked for, by their counters.
        signed_at: When, in seconds since 1970.
    """

    orders: dict[int, Order]
    signed_at: float


def look(url: str, name: str, root: bytes, metadata: Path, http: Http, newest: float) -> Signed:
    """Asks for what is new, and checks every signature of it.

    Args:
        url: Of the folder that holds ``metadata`` and ``targets``.
        name: The model's.
        root: Whom to trust at first.
        metadata: Where what was seen last is kept.
        http: Who fetches.
        newest: The newest signing time that was seen before.

    Raises:
        FleetError: There is nothing to be trusted now; its `reason` says why.
    """
    try:
        from tuf.api.metadata import Metadata, Targets, Timestamp
        from tuf.ngclient import Updater
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(exc.name or "tuf", "fleet", "Updating from a fleet") from exc

    if time.time() < newest - _CLOCK_S:
        raise FleetError(
            f"The clock says {_date(time.time())}, and the repository was signed on "
            f"{_date(newest)}, which this device has seen: the clock is wrong. Set it; until then "
            "nothing is updated, and what runs goes on.",
            "clock",
        )
    metadata.mkdir(parents=True, exist_ok=True)
    for litter in metadata.glob("tmp*"):  # of a run that was killed
        litter.unlink()
    with _in_words(url):
        updater = Updater(str(metadata), f"{url}/metadata/", fetcher=http, bootstrap=root)
        updater.refresh()
    sync_folder(metadata)
    with _in_words(url):
        targets = Metadata[Targets].from_file(str(metadata / "targets.json")).signed.targets
        timestamp = Metadata[Timestamp].from_file(str(metadata / "timestamp.json")).signed
    signed_at = timestamp.unrecognized_fields.get(SIGNED_AT, 0)
    if signed_at < newest:  # tuf would know, had it not lost what it saw
        raise _refusal(url, f"it was signed on {_date(signed_at)}", "replayed", "It is older than "
                       f"what this device has seen, which is of {_date(newest)}.")  # fmt: skip
    orders = {}
    for path, target in targets.items():
        if path.startswith(f"{name}/"):
            order = read_order(path, target.hashes.get("sha256", ""), target.length, target.custom)
            orders[order.counter] = order
    return Signed(orders, float(signed_at) if isinstance(signed_at, int) else 0.0)


@contextmanager
def _in_words(url: str) -> Iterator[None]:
    from tuf.api import exceptions as tuf

    try:
        yield
    except tuf.ExpiredMetadataError as exc:
        raise _refusal(url, exc, "expired", "Either nobody has signed it for too long ('edgeclf "
                       "fleet renew'), somebody holds newer metadata back, or the clock here is "
                       f"wrong: it says {_date(time.time())}.") from exc  # fmt: skip
    except tuf.BadVersionNumberError as exc:
        raise _refusal(url, exc, "replayed", "It is older than what this device has seen.") from exc
    except tuf.LengthOrHashMismatchError as exc:
        raise _refusal(url, exc, "mixed", "Its parts are not of one publication.") from exc
    except tuf.UnsignedMetadataError as exc:
        found = _SIGNED_BY.search(str(exc))
        some = found is not None and int(found[1]) > 0
        raise _refusal(url, exc, "threshold" if some else "wrong-key", "Too few of the keys that "
                       "this device trusts have signed it.") from exc  # fmt: skip
    except tuf.DownloadLengthMismatchError as exc:
        raise _refusal(url, exc, "oversized", "It is longer than it may be.") from exc
    except tuf.RepositoryError as exc:
        raise _refusal(url, exc, "damaged", "It is not whole, or no TUF metadata.") from exc
    except tuf.DownloadError as exc:
        cause = exc.__cause__ or exc
        raise FleetError(
            f"The repository at {url} cannot be asked: {_line(cause)}. What runs goes on; the next "
            "run tries again.",
            "away",
        ) from exc


def _refusal(url: str, exc: Exception | str, reason: str, words: str) -> FleetError:
    return FleetError(
        f"What the repository at {url} says is not taken ({reason}): {_line(exc)}. {words} What "
        "runs goes on.",
        reason,
    )


def _line(exc: BaseException | str) -> str:
    return (" ".join(str(exc).split()) or type(exc).__name__)[:300].rstrip(".")


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def place_of(order: Order) -> str:
    """Where an order's file is on the server: TUF puts its hash in front of the name."""
    folder, _, name = order.path.rpartition("/")
    return f"targets/{folder}/{order.sha256}.{name}"
