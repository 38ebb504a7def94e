"""TensorFlow Serving's REST interface: `:predict`, `:classify`, and what is known of a model."""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr as short
from typing import Any

from edgeclf.image import ImageSource, ImageSpec
from edgeclf.service.answers import finite, version_entry
from edgeclf.service.asgi import Receive, Scope, Send, respond_json
from edgeclf.service.catalog import State, Version
from edgeclf.service.intake import Wanted, check_count, decode_base64, parse_json
from edgeclf.service.pixel_lists import read_pixels
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service
from edgeclf.service.whole_requests import addressed, answer_whole, at_index, read_whole

_INPUT = "image_bytes"
_PREDICT = '{"instances": [{"b64": "..."}, ...]}'
_CLASSIFY = '{"examples": [{"image": {"b64": "..."}}, ...]}'
_STATES: dict[State, str] = {
    "loading": "LOADING",
    "ready": "AVAILABLE",
    "failed": "END",
    "draining": "UNLOADING",
    "unloaded": "END",
}


class PredictRoutes:
    """What clients of TensorFlow Serving ask.

    Args:
        service: What answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The probabilities of each picture, as TensorFlow Serving answers."""
        version, document = await self._read(scope, receive, _PREDICT)
        entries, key = _instances(document)
        spec = version.artifact.metadata.image
        images = [_image(e, i, (_INPUT, "image"), spec) for i, e in enumerate(self._few(entries))]
        version, found = await answer_whole(self._service, scope, receive, images, Wanted())
        rows = [[finite(value) for value in p.probabilities] for _, p in found]
        await _respond(scope, send, version, {key: rows})

    async def classify(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Labels and probabilities of each picture, as TensorFlow Serving answers."""
        version, document = await self._read(scope, receive, _CLASSIFY)
        entries = document.get("examples")
        if not isinstance(entries, list) or not entries:
            raise _bad(f"'examples' is {short(entries)}; expected {_CLASSIFY}.")
        spec = version.artifact.metadata.image
        images = [_image(e, i, ("image", _INPUT), spec) for i, e in enumerate(self._few(entries))]
        version, found = await answer_whole(self._service, scope, receive, images, Wanted())
        results = [[[s.label, finite(s.probability)] for s in p.scores] for _, p in found]
        await _respond(scope, send, version, {"results": results})

    async def status(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The state of a model's versions; `ready` is what KServe asks."""
        versions = self._known(scope)
        await respond_json(send, {
            "name": versions[0].model,
            "ready": any(version.state == "ready" for version in versions),
            "model_version_status": [
                {
                    "version": version.number,
                    "state": _STATES[version.state],
                    "status": {
                        "error_code": "UNKNOWN" if version.state == "failed" else "OK",
                        "error_message": version.reason,
                    },
                }
                for version in versions
            ],
        })  # fmt: skip

    async def metadata(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A model's signature, and what its file says."""
        version = self._service.catalog.find(*addressed(scope))
        metadata = version.artifact.metadata
        signature = {
            "inputs": {_INPUT: _tensor(_INPUT, "DT_STRING", [-1])},
            "outputs": {
                "probabilities": _tensor("probabilities", "DT_FLOAT", [-1, len(metadata.labels)])
            },
            "method_name": "tensorflow/serving/predict",
        }
        await respond_json(send, {
            "model_spec": {
                "name": version.model, "signature_name": "", "version": version.number,
            },
            "metadata": {
                "signature_def": {"signature_def": {"serving_default": signature}},
                "labels": metadata.labels,
                "image": metadata.image.to_dict(),
                "sha256": version.sha256,
            },
        })  # fmt: skip

    def _known(self, scope: Scope) -> Sequence[Version]:
        """The versions that an address names, in whatever state."""
        name, number = addressed(scope)
        versions = self._service.catalog.model(name).versions
        if number is None:
            return list(versions.values())
        if number not in versions:
            raise Problem(
                404, "no_version",
                f"Model {name!r} has no version {number!r}; it has: {', '.join(sorted(versions))}.",
            )  # fmt: skip
        return [versions[number]]

    async def _read(
        self, scope: Scope, receive: Receive, form: str
    ) -> tuple[Version, dict[str, Any]]:
        version, body = await read_whole(self._service, scope, receive)
        document = parse_json(body)
        if not isinstance(document, dict):
            raise _bad(f"The JSON is {short(document)}; expected {form}.")
        return version, document

    def _few(self, entries: list[Any]) -> list[Any]:
        check_count(len(entries), self._service.config.max_pictures)
        return entries


def _instances(document: dict[str, Any]) -> tuple[list[Any], str]:
    """The pictures, and under which key their answers go."""
    if ("instances" in document) == ("inputs" in document):
        raise _bad(f"Expected one of 'instances' and 'inputs', as in {_PREDICT}.")
    if "instances" in document:
        entries, key = document["instances"], "predictions"
    else:
        entries, key = document["inputs"], "outputs"
        if isinstance(entries, dict) and len(entries) == 1 and (
            next(iter(entries)) in (_INPUT, "image")
        ):  # fmt: skip
            (entries,) = entries.values()
    if not isinstance(entries, list) or not entries:
        raise _bad(f"The pictures are {short(entries)}; expected a list, as in {_PREDICT}.")
    return entries, key


def _image(entry: Any, index: int, names: Sequence[str], spec: ImageSpec) -> ImageSource:
    """A picture: a file in base64, under a name or not, or the pixels that the model takes."""
    if isinstance(entry, dict) and len(entry) == 1 and next(iter(entry)) in names:
        (entry,) = entry.values()
    if isinstance(entry, list):
        shape = (spec.height, spec.width, 3)
        return read_pixels(entry, shape, f"Picture {index} (from 0)")
    if not isinstance(entry, dict) or set(entry) != {"b64"} or not isinstance(entry["b64"], str):
        raise _bad(
            f'Picture {index} (from 0) is {short(entry)}; expected {{"b64": "..."}}, its file '
            f"in base64, perhaps under {names[0]!r}, or its pixels "
            f"[{spec.height}, {spec.width}, 3]. Addresses are not fetched."
        )
    content = decode_base64(entry["b64"])
    if isinstance(content, Problem):
        raise at_index(index, content)
    return content


async def _respond(scope: Scope, send: Send, version: Version, document: dict[str, Any]) -> None:
    """The answer; and who gave it, which clients of TensorFlow Serving do not look at."""
    await respond_json(
        send, {**document, **version_entry(version), "request_id": scope["edgeclf.request_id"]}
    )


def _tensor(name: str, kind: str, shape: Sequence[int]) -> dict[str, Any]:
    dimensions = [{"size": str(size), "name": ""} for size in shape]
    return {
        "dtype": kind, "name": name,
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
    }  # fmt: skip


def _bad(message: str) -> Problem:
    return Problem(400, "bad_json", message)
