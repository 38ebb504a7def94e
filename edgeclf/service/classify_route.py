"""`POST /classify`: pictures in, answers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

from edgeclf.service.access import is_rehearsal
from edgeclf.service.answers import answer_entry, version_entry
from edgeclf.service.asgi import Receive, Scope, Send, header, read_body, respond_json
from edgeclf.service.explaining import check_explainable, explains, explanation_entry
from edgeclf.service.intake import Wanted, read_pictures, read_wanted
from edgeclf.service.pool import Answered
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service


class ClassifyRoute:
    """The route, for each address that leads to it.

    Args:
        service: What answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Classifies the pictures of a body: an image file's bytes, a form's files, or JSON."""
        service, config = self._service, self._service.config
        start = perf_counter()
        place = scope.get("path_params") or {}
        name, number = place.get("model"), place.get("version")
        wanted = read_wanted(scope["query_string"])
        if is_rehearsal(scope):
            wanted = replace(wanted, rehearsal=True)
        version = service.catalog.find(name, number)
        if wanted.explain:
            check_explainable(version, wanted)
        service.check_room(wanted.timeout_s)  # before a body is read that would only be thrown away
        body = await read_body(scope, receive, config.max_body_bytes)
        kind = header(scope, b"content-type") or b""
        pictures = read_pictures(kind, body, config.max_pictures)
        good = [content for content in pictures.contents if isinstance(content, bytes)]
        extra = None
        if one_pass := wanted.explain and explains(version):
            extra = partial(explanation_entry, label=wanted.explain_label)
        elif wanted.explain and pictures.several:
            raise Problem(
                400, "bad_option",
                "A map that takes many passes is made of one picture at a time; send an image "
                "file's bytes.",
            )  # fmt: skip
        version, answers = await service.answer(name, number, good, wanted, receive, extra)
        entries = _entries(pictures.contents, answers, wanted)
        if not pictures.several:
            (entry,) = entries
            if isinstance(entry, Problem):
                raise entry
            if wanted.explain and not one_pass:
                entry["explanation"] = await service.maps.explain(
                    version, good[0], wanted.explain_label, wanted.explain_passes or 1, receive
                )
            document: dict[str, Any] = {**version_entry(version), **entry}
        else:
            for entry in entries:
                if isinstance(entry, Problem):
                    service.metrics.refused.labels(entry.code).inc()
            named = zip(pictures.names, entries, strict=True)
            document = {**version_entry(version), "answers": [_listed(*each) for each in named]}
        document["request_id"] = scope["edgeclf.request_id"]
        document.setdefault("timing", {})["total_ms"] = round((perf_counter() - start) * 1e3, 3)
        await respond_json(send, document)


def _entries(
    contents: Sequence[bytes | Problem], answers: list[Answered], wanted: Wanted
) -> list[dict[str, Any] | Problem]:
    """In the order of the pictures; those of one that has no answer is a problem."""
    rest = iter(answers)
    entries: list[dict[str, Any] | Problem] = []
    for content in contents:
        try:
            if isinstance(content, Problem):
                raise content
            entries.append(answer_entry(next(rest), wanted))
        except Problem as problem:
            entries.append(problem)
    return entries


def _listed(name: str | None, entry: dict[str, Any] | Problem) -> dict[str, Any]:
    if isinstance(entry, Problem):
        entry = entry.entry()
    return entry if name is None else {"name": name, **entry}
