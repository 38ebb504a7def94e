"""The files of a form, read in memory: the body is there already, and its size is limited."""

from __future__ import annotations

from typing import Any

from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from edgeclf.service.problem import Problem

_MOST_HEADERS = 16  # of one part


def read_multipart(content_type: bytes, body: bytes, most: int) -> list[tuple[str | None, bytes]]:
    """Names and contents of a form's files, in order; fields without a file's name count as well.

    Args:
        content_type: The header's value, with the boundary.
        body: The whole form.
        most: Parts at most.

    Raises:
        Problem: 400 it is no such form, 413 it has more parts.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary or len(boundary) > 70:  # the most that RFC 2046 allows
        raise Problem(400, "bad_form", "The form's Content-Type has no boundary of 1 to 70 bytes.")
    form = _Form(most)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except (FormParserError, MultipartParseError) as exc:
        raise Problem(400, "bad_form", f"The form cannot be read: {exc}.") from None
    if not form.ended:
        raise Problem(400, "bad_form", "The form ends before its last boundary: it was cut short.")
    return form.parts


class _Form:
    def __init__(self, most: int) -> None:
        self.parts: list[tuple[str | None, bytes]] = []
        self.ended = False
        self._most = most
        self._content = bytearray()
        self._field, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda d, s, e: self._field.extend(d[s:e]),
            "on_header_value": lambda d, s, e: self._value.extend(d[s:e]),
            "on_header_end": self._header,
            "on_part_data": lambda d, s, e: self._content.extend(d[s:e]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        if len(self.parts) >= self._most:
            raise Problem(
                413, "too_many_pictures",
                f"The form has more than {self._most} parts, which is what this service takes at "
                "once. Send several requests.",
            )  # fmt: skip
        self._content = bytearray()
        self._headers = {}

    def _header(self) -> None:
        if len(self._headers) >= _MOST_HEADERS:
            raise Problem(400, "bad_form", f"A part has more than {_MOST_HEADERS} headers.")
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"filename", options.get(b"name"))
        text = None if name is None else name.decode("utf-8", "replace")
        self.parts.append((text, bytes(self._content)))

    def _finish(self) -> None:
        self.ended = True
