"""What a device is told once: where its orders come from, whom to trust, and which group it is."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgeclf.errors import FleetError, OptionError
from edgeclf.fleet.disk import locked, put, put_json
from edgeclf.fleet.folder import Folder, Release
from edgeclf.fleet.orders import NAME
from edgeclf.fleet.signing import make_key, public_of, read_seed
from edgeclf.system.files import sha256_of

_MOST_BYTES = 256 << 20
_MOST_LETTERS = 100


@dataclass(frozen=True)
class Device:
    """Who a device is, in ``device.json``.

    Attributes:
        url: Of the folder that the publisher's web server shows.
        name: Of the model.
        group: Of the device.
        device: Its own name, by which its place in a staged rollout is drawn.
        runtime: What serves here, and so what a certificate is replayed by.
        max_bytes: The largest file that it takes.
        report: Where reports go: an address they are posted to, or a folder; None for nowhere.
        device_class: What it is one of, for comparisons; empty for machine and CPU.
    """

    url: str
    name: str
    group: str
    device: str
    runtime: str = "auto"
    max_bytes: int = _MOST_BYTES
    report: str | None = None
    device_class: str = ""


def read_device(folder: str | os.PathLike[str]) -> tuple[Device, bytes]:
    """Who a device is, and its first root of trust.

    Raises:
        FleetError: It was not provisioned, or the file was changed to what it cannot be.
    """
    path = Path(folder)
    try:
        said = json.loads((path / "device.json").read_bytes())
        return Device(**said), (path / "root.json").read_bytes()
    except (OSError, ValueError, TypeError) as exc:
        raise FleetError(
            f"{path} is no device's folder: {exc}. Provision it: edgeclf update {path} --url URL "
            "--root root.json --name MODEL --group GROUP",
            "not-provisioned",
        ) from exc


def provision(
    folder: str | os.PathLike[str],
    *,
    url: str,
    root: str | os.PathLike[str],
    name: str,
    group: str,
    model: str | os.PathLike[str] | None = None,
    sign: bool = False,
    **more: Any,
) -> str | None:
    """Makes a device's folder.

    What runs there stays; the root of trust of a folder that has one is never replaced, as its
    successors come signed by it.

    Args:
        folder: Where.
        url: Of the folder that the publisher's web server shows.
        root: The publisher's ``1.root.json``, brought here on a way that is trusted.
        name: Of the model.
        group: Of the device.
        model: A file that runs from the start, before the first order.
        sign: Whether to make a key that signs its reports; one that is there stays.
        more: Other fields of `Device`; its own name is the host's unless it is said.

    Returns:
        The public half of its key, hex, for who enrolls it; None where it has none.

    Raises:
        OptionError: Something said cannot be so.
        FleetError: There is another root of trust.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OptionError(
            f"The repository's address is {url!r}; expected http://... or https://..."
        )
    for what, word in (("model", name), ("group", group)):
        if not NAME.fullmatch(word):
            raise OptionError(
                f"The {what} is called {word!r}; expected up to 64 letters, digits, '_' and '-'."
            )
    given = {key: value for key, value in more.items() if value is not None}
    if unknown := set(given) - {each.name for each in fields(Device)}:
        raise OptionError(f"A device has no {', '.join(sorted(unknown))}.")
    device = Device(url.rstrip("/"), name, group, **{"device": socket.gethostname(), **given})
    if not device.device.isprintable() or not 0 < len(device.device) <= _MOST_LETTERS:
        raise OptionError(
            f"The device is called {device.device!r}; expected up to {_MOST_LETTERS} letters."
        )
    if device.report is not None:
        device = replace(device, report=checked_place(device.report))
    trusted = _read(root)
    place = Folder(folder)
    place.path.mkdir(parents=True, exist_ok=True)
    with locked(place.path / "update.lock", wait=False):
        present = place.path / "root.json"
        if present.exists() and present.read_bytes() != trusted:
            raise FleetError(
                f"{present} is another root of trust than {os.fspath(root)!r}. A device keeps the "
                "one that it was given; make a new folder to trust another publisher.",
                "root",
            )
        put(present, trusted)
        if model is not None and place.current() is None:
            _install(place, Path(model), name)
        put_json(place.path / "device.json", asdict(device))
        if sign:
            return make_key(place.path)
    seed = read_seed(place.path)
    return None if seed is None else public_of(seed).hex()


def checked_place(place: str) -> str:
    """Where reports go, if they can: an address, or a folder by its whole path.

    Raises:
        OptionError: It is neither.
    """
    parts = urlsplit(place)
    if parts.scheme in ("http", "https") and parts.hostname:
        return place
    if parts.scheme not in ("", "http", "https") or not Path(place).is_dir():
        raise OptionError(
            f"Reports cannot go to {place!r}; expected http://... or https://..., such as "
            "https://SERVICE/fleet/report, or a folder that is there."
        )
    return str(Path(place).resolve())


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise OptionError(
            f"Cannot read {os.fspath(path)!r}: {exc.strerror}. Expected a file."
        ) from exc


def _install(place: Folder, model: Path, name: str) -> None:
    """Puts the first file in; its counter is 0, below that of every order."""
    put(place.path / "incoming.part", _read(model))
    sha256 = sha256_of(place.path / "incoming.part")
    with place.changing() as state:
        file = place.place(place.incoming, place.free_slot(state), f"0.{name}{model.suffix}")
        state.committed = Release(name, 0, sha256, file)
        state.seen[sha256] = 0
