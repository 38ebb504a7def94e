"""What gives the same for the same bytes, done once for all devices of a simulated fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Metadata


@contextmanager
def remembered(devices: Callable[[], bool]) -> Iterator[None]:
    """Parses the same metadata, and checks the same signature on it, once for all devices.

    Both give the same for the same bytes. The publisher, who changes what it has parsed, is left
    alone.
    """
    parsed: dict[bytes, Any] = {}
    texts: dict[int, tuple[Any, bytes]] = {}
    valid: set[tuple[str, str, bytes]] = set()
    parse, text, verify = (Metadata.from_bytes.__func__, Metadata.signed_bytes.fget,  # type: ignore[attr-defined]
                           SSlibKey.verify_signature)  # fmt: skip

    def from_bytes(cls: Any, data: bytes, deserializer: Any = None) -> Any:
        if not devices():
            return parse(cls, data, deserializer)
        found = parsed.get(data)
        if found is None:
            found = parsed[data] = parse(cls, data, deserializer)
        return found

    def signed_bytes(self: Any) -> bytes:
        if not devices():
            return text(self)  # type: ignore[no-any-return]
        found = texts.get(id(self))
        if found is None or found[0] is not self:
            found = texts[id(self)] = (self, text(self))
        return found[1]

    def verify_signature(self: Any, signature: Any, data: bytes) -> None:
        place = (str(self.keyval), signature.signature, data)
        if place not in valid:
            verify(self, signature, data)
            valid.add(place)

    with (
        mock.patch.object(Metadata, "from_bytes", classmethod(from_bytes)),
        mock.patch.object(Metadata, "signed_bytes", property(signed_bytes)),
        mock.patch.object(SSlibKey, "verify_signature", verify_signature),
    ):
        yield
