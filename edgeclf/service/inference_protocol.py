"""The Open Inference Protocol, version 2: the routes that clients of KServe and Triton know."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version as version_of
from typing import Any

from edgeclf.inference.prediction import Prediction
from edgeclf.service.asgi import Receive, Scope, Send, header, respond, respond_json
from edgeclf.service.binary_tensors import HEADER_LENGTH, split_body, write_answer
from edgeclf.service.catalog import Version
from edgeclf.service.inference_tensors import answer_outputs, inputs_of, outputs_of, read_asked
from edgeclf.service.intake import Wanted
from edgeclf.service.pool import Answered
from edgeclf.service.service import Service
from edgeclf.service.whole_requests import addressed, answer_whole, read_whole

EXTENSIONS = ("binary_tensor_data", "classification", "model_repository", "parameters")
_PLATFORMS = {
    "tflite": "tensorflow_tflite", "onnx": "onnx_onnxv1", "keras": "tensorflow_keras",
}  # fmt: skip
_MS_DIGITS = 3


class InferenceProtocol:
    """What is under ``/v2``, but for health and the repository.

    Args:
        service: What answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._release = version_of("edgeclf")

    async def server(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What this is, and which extensions it has."""
        config = self._service.config
        await respond_json(send, {
            "name": "edgeclf",
            "version": self._release,
            "extensions": EXTENSIONS,
            "parameters": {"workers": config.worker_count, "threads": config.threads},
        })  # fmt: skip

    async def model(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A model's tensors, and what its file says."""
        name, number = addressed(scope)
        version = self._service.catalog.find(name, number)
        versions = self._service.catalog.model(name).versions
        ready = [v.number for v in versions.values() if v.state == "ready"]
        artifact = version.artifact
        await respond_json(send, {
            "name": version.model,
            "versions": ready if number is None else [number],
            "platform": _PLATFORMS[artifact.format],
            "inputs": inputs_of(artifact.metadata.image),
            "outputs": outputs_of(version),
            "parameters": _parameters(version),
        })  # fmt: skip

    async def model_ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        """200 if the model can answer, or 503 with what keeps it from it."""
        version = self._service.catalog.find(*addressed(scope))
        await respond_json(send, {"name": version.model, "version": version.number, "ready": True})

    async def infer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers files or pixels, in JSON or binary, by the Open Inference Protocol."""
        service = self._service
        version, body = await read_whole(service, scope, receive)
        document, rest = split_body(body, header(scope, HEADER_LENGTH))
        asked = read_asked(document, rest, version, service.config.max_pictures)
        wanted = Wanted(timeout_s=asked.timeout_s)
        version, found = await answer_whole(service, scope, receive, asked.images, wanted)
        outputs = answer_outputs(asked, version, [prediction for _, prediction in found])
        head: dict[str, Any] = {"model_name": version.model, "model_version": version.number}
        if asked.id is not None:
            head["id"] = asked.id
        head["parameters"] = {
            "sha256": version.sha256,
            "request_id": scope["edgeclf.request_id"],
            **_timing(found),
        }
        answer, headers = write_answer(head, outputs)
        kind = b"application/octet-stream" if headers else b"application/json"
        await respond(send, 200, answer, headers, kind)


def _parameters(version: Version) -> dict[str, str | int | float]:
    """What the file says, in the types that the protocol allows; labels a line, as labels.txt."""
    metadata = version.artifact.metadata
    image = metadata.image
    found: dict[str, str | int | float] = {
        "labels": "\n".join(metadata.labels),
        "height": image.height,
        "width": image.width,
        "resize": image.resize,
        "kernel": image.kernel,
        "crop_share": image.crop_share,
        "colour": "RGB",
        "precision": metadata.precision,
        "sha256": version.sha256,
    }
    if version.runtime is not None:
        found["runtime"] = version.runtime.name
    if version.proof is not None:
        found["certificate"] = version.proof.text
    return found


def _timing(found: Sequence[tuple[Answered, Prediction]]) -> dict[str, float]:
    """Of all pictures of a request: the longest wait, and the sum of each stage's time."""
    timings = [prediction.timing for _, prediction in found]
    return {
        "queue_ms": round(max(answered.queue_ms for answered, _ in found), _MS_DIGITS),
        "decode_ms": round(sum(t.decode_ms for t in timings), _MS_DIGITS),
        "preprocess_ms": round(sum(t.preprocess_ms for t in timings), _MS_DIGITS),
        "inference_ms": round(sum(t.inference_ms for t in timings), _MS_DIGITS),
    }
