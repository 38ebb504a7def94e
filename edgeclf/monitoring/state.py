"""What monitoring knows, kept over restarts in one small file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeclf.system.files import replacing

_FORMAT = 1
_MOST_MODELS = 32  # of which the last used are kept
_MOST_BYTES = 64 * 2**20


class StateFile:
    """A JSON file, replaced as a whole: who is killed meanwhile leaves the one of before.

    No time in it is compared with a clock, so that a clock that jumps changes nothing.

    Args:
        path: Where it is, or will be.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._models: dict[str, Any] = {}

    def read(self) -> str | None:
        """Reads what there is.

        Returns:
            What was wrong with it, for people, and where it is now; None if all is well. A damaged
            file is put aside, and everything begins anew.
        """
        try:
            if self._path.stat().st_size > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES:,} bytes")
            document = json.loads(self._path.read_bytes())
            if document["format"] != _FORMAT:
                raise ValueError(f"format {document['format']!r}")
            self._models = {str(key): dict(value) for key, value in document["models"].items()}
        except FileNotFoundError:
            return None
        except OSError as exc:
            return f"The monitoring's state {self._path} cannot be read: {exc.strerror}."
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            aside = self._path.with_name(self._path.name + ".damaged")
            with suppress(OSError):
                self._path.replace(aside)
            return (
                f"The monitoring's state {self._path} is damaged ({exc}); it was put aside as "
                f"{aside.name}, and monitoring begins anew."
            )
        return None

    def of(self, sha256: str) -> dict[str, Any] | None:
        """What is known of the pictures of a model, by its file's SHA-256."""
        return self._models.get(sha256)

    def encode(self, models: Mapping[str, Mapping[str, Any]]) -> bytes:
        """Takes over what is known now, and gives what `write` is to write.

        Args:
            models: By their files' SHA-256.
        """
        for sha256, state in models.items():
            self._models.pop(sha256, None)
            self._models[sha256] = state  # at the end: the last used
        for sha256 in list(self._models)[:-_MOST_MODELS]:
            del self._models[sha256]
        document = {"format": _FORMAT, "models": self._models}
        return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()

    def write(self, content: bytes) -> None:
        """Replaces the file; may be called in another thread.

        Raises:
            OSError: It cannot be written; the one of before is as it was.
        """
        with replacing(self._path) as temporary:
            temporary.write_bytes(content)
