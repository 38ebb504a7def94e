"""Why a request got no answer, in the one form that every route gives it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from edgeclf.errors import (
    EdgeclfError,
    ImageError,
    InferenceError,
    OptionError,
    ServiceError,
)

_BY_ERROR: tuple[tuple[type[EdgeclfError], int, str], ...] = (
    (ImageError, 422, "picture_refused"),
    (OptionError, 400, "bad_option"),
    (InferenceError, 500, "inference_failed"),
    (EdgeclfError, 500, "failed"),
)


class Problem(ServiceError):  # noqa: N818 - a refusal is no fault
    """A refusal with its HTTP status.

    Args:
        status: 400 to 599.
        code: One word for programs, such as ``busy``; part of the protocol, so it stays the same.
        message: For people: what was received, what was expected, what to do.
        retry_after_s: When it is worth to ask again; None where it is not.
        close: Whether the connection ends, as the rest of the body has not been read.
        headers: What else the response's headers say.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after_s: float | None = None,
        close: bool = False,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.close = close
        self._headers = tuple(headers)

    @classmethod
    def of(cls, error: EdgeclfError) -> Problem:
        """The refusal that an error of ours amounts to."""
        if isinstance(error, Problem):
            return error
        status, code = next((s, c) for kind, s, c in _BY_ERROR if isinstance(error, kind))
        return cls(status, code, str(error))

    def entry(self) -> dict[str, Any]:
        """It as JSON types: ``error`` is the text, as the Open Inference Protocol wants it."""
        return {"error": str(self), "code": self.code}

    def body(self) -> bytes:
        """The same as the response's body."""
        return json.dumps(self.entry(), ensure_ascii=False).encode("utf-8", "replace")

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the response's headers say of it."""
        headers = list(self._headers)
        if self.retry_after_s is not None:
            headers.append((b"retry-after", str(max(1, math.ceil(self.retry_after_s))).encode()))
        if self.close:
            headers.append((b"connection", b"close"))
        return headers
