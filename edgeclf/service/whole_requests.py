"""Requests of protocols in which a request is answered as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

from edgeclf.errors import EdgeclfError
from edgeclf.image import ImageSource
from edgeclf.inference.prediction import Prediction
from edgeclf.service.asgi import Receive, Scope, header, read_body
from edgeclf.service.catalog import Version
from edgeclf.service.intake import Wanted
from edgeclf.service.pool import Answered
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service


def addressed(scope: Scope) -> tuple[str | None, str | None]:
    """Model and version that an address names; None where it does not."""
    place = scope.get("path_params") or {}
    return place.get("model"), place.get("version")


async def read_whole(service: Service, scope: Scope, receive: Receive) -> tuple[Version, bytes]:
    """The version that an address leads to, and the body of the request.

    Raises:
        Problem: The model cannot answer, there is no room, or the body is refused.
    """
    name, number = addressed(scope)
    service.catalog.find(name, number)
    service.check_room()  # before a body is read that would only be thrown away
    encoding = header(scope, b"content-encoding")
    if encoding not in (None, b"", b"identity"):
        raise Problem(
            415, "compressed",
            "The body is compressed; send it as it is: pictures are compressed already.",
            close=True,
        )  # fmt: skip
    config = service.config
    body = await read_body(scope, receive, config.max_body_bytes)
    return service.catalog.find(name, number), body  # which another one may be by now


async def answer_whole(
    service: Service,
    scope: Scope,
    receive: Receive,
    images: Sequence[ImageSource],
    wanted: Wanted,
) -> tuple[Version, list[tuple[Answered, Prediction]]]:
    """An answer for each picture.

    Returns:
        Who answered; and of each picture what came, and the prediction in it.

    Raises:
        Problem: One of them has none; the first of these is named by its place, from 0.
    """
    name, number = addressed(scope)
    version, answers = await service.answer(name, number, images, wanted, receive)
    found = []
    for index, answered in enumerate(answers):
        if not isinstance(answered.result, Prediction):
            raise at_index(index, answered.result)
        found.append((answered, answered.result))
    return version, found


def at_index(index: int, error: EdgeclfError) -> Problem:
    """The refusal of a whole request because of one of its pictures."""
    problem = Problem.of(error)
    return Problem(
        problem.status,
        problem.code,
        f"Picture {index} (from 0): {problem}",
        retry_after_s=problem.retry_after_s,
    )
