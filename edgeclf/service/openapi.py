"""The service's description as an OpenAPI 3.1 document, made from its routes and its models."""

from __future__ import annotations

import base64
import importlib.metadata
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from edgeclf.inference.confidence import Unknown
from edgeclf.service.catalog import Version
from edgeclf.service.explaining import explains
from edgeclf.service.service import Service
from edgeclf.service.stream_messages import ROUTES

_MOST_LABELS = 64  # that are listed; a thousand help nobody
_JSON = "application/json"
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")


@dataclass(frozen=True)
class RouteEntry:
    """A route, for people and programs that read of it.

    Attributes:
        path: Its pattern, with parameters as ``{model}``.
        methods: It takes.
        text: What it does: its first sentence, and perhaps more.
    """

    path: str
    methods: tuple[str, ...]
    text: str


def openapi(service: Service, routes: Iterable[RouteEntry]) -> dict[str, Any]:
    """The document.

    Args:
        service: Whose models are described.
        routes: All that it has.
    """
    versions = [model.current for model in service.catalog.models.values() if model.current]
    names = ", ".join(sorted({version.model for version in versions})) or "no model yet"
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": f"edgeclf: {names}",
            "version": importlib.metadata.version("edgeclf"),
            "summary": "Image classifiers that have proven here that they answer as certified.",
        },
        "servers": [{"url": "/"}],
        "paths": {},
        "components": {
            "schemas": _schemas(service, versions),
            "examples": _examples(versions),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{}, {"bearer": []}, {"header": []}],  # the first: a service without keys
        "x-edgeclf-models": model_entries(service),
        "x-edgeclf-websockets": list(ROUTES),  # which OpenAPI has no words for
    }
    for route in routes:
        entry = document["paths"].setdefault(_PARAMETER.sub(r"{\1}", route.path), {})
        for method in route.methods:
            entry[method.lower()] = _operation(service, route, method, document["components"])
    return document


def model_entries(service: Service) -> list[dict[str, Any]]:
    """What every version's file says of itself, and whether it is the one that answers."""
    current = [model.current for model in service.catalog.models.values()]
    return [{**_model_entry(each), "current": each in current} for each in service.catalog]


def _model_entry(version: Version) -> dict[str, Any]:
    """What a model's file says of itself, as JSON types."""
    metadata = version.artifact.metadata
    accuracy = metadata.accuracy or {}
    return {
        "model": version.model,
        "version": version.number,
        "sha256": version.sha256,
        "state": version.state,
        "certificate": None if version.proof is None else version.proof.text,
        "runtime": None if version.runtime is None else version.runtime.name,
        "precision": metadata.precision,
        "format": version.artifact.format,
        "size_bytes": version.size_bytes,
        "input": [metadata.image.width, metadata.image.height],
        "labels": list(metadata.labels[:_MOST_LABELS]),
        "classes": len(metadata.labels),
        "parameters": metadata.parameters,
        "top1": (accuracy.get("artifact") or {}).get("top1"),
        "evaluation_images": accuracy.get("images"),
        "calibrated": metadata.trust is not None,
        "coverages": _coverages(metadata.trust),
        "name": metadata.name,
        "explains": explains(version),
        "description": metadata.description,
        "license": metadata.license,
        "origin_url": metadata.origin_url,
        "example": example_photo(version) is not None,
    }


def _coverages(trust: Mapping[str, Any] | None) -> list[float]:
    """The levels of prediction sets that a file has; its reader has checked them."""
    return [] if trust is None else [level["coverage"] for level in trust["sets"]["levels"]]


def example_photo(version: Version) -> bytes | None:
    """The JPEG of a file's certificate; None without one."""
    photo = (version.artifact.metadata.certificate or {}).get("photo")
    return None if photo is None else base64.b64decode(photo["jpeg"])


def _operation(
    service: Service, route: RouteEntry, method: str, components: dict[str, Any]
) -> dict[str, Any]:
    summary, _, more = route.text.partition("\n")
    parameters = [
        {"name": name, "in": "path", "required": True,
         "schema": _of_parameter(name, service)}
        for name in _PARAMETER.findall(route.path)
    ]  # fmt: skip
    operation: dict[str, Any] = {
        # ":classify" and "/classify" are two routes.
        "operationId": re.sub(r"[^\w:]+", "_", f"{method.lower()}{route.path}").replace(":", "__"),
        "summary": summary,
        "responses": {"200": {"description": "As asked."}, "default": _refusal()},
    }
    if more.strip():
        operation["description"] = more.strip()
    if route.path.endswith("/classify"):
        parameters += _QUERY
        operation["requestBody"] = _pictures(components)
        operation["responses"]["200"] = _answers(components)
    elif method == "POST":
        operation["requestBody"] = {"content": {_JSON: {"schema": {"type": "object"}},
                                                "application/octet-stream": {}}}  # fmt: skip
    if parameters:
        operation["parameters"] = parameters
    return operation


def _of_parameter(name: str, service: Service) -> dict[str, Any]:
    models = service.catalog.models.values()
    known = {
        "model": sorted(model.name for model in models),
        "version": sorted({number for model in models for number in model.versions}),
    }.get(name)
    return {"type": "string", **({"examples": known} if known else {})}


def _refusal() -> dict[str, Any]:
    return {
        "description": "Refused, or failed: what was received, what was expected, what to do.",
        "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def _pictures(components: dict[str, Any]) -> dict[str, Any]:
    files = {"type": "array", "items": {"type": "string", "contentMediaType": "image/*"}}
    form = {"type": "object", "properties": {"file": files}}
    return {
        "required": True,
        "content": {
            "image/*": {"schema": {"description": "An image file's bytes: JPEG, PNG, WebP, …"}},
            "multipart/form-data": {"schema": form},
            _JSON: {
                "schema": {"$ref": "#/components/schemas/Pictures"},
                **_example("photo", components),
            },
        },
    }


def _answers(components: dict[str, Any]) -> dict[str, Any]:
    names = ("Answer", "Answers")
    schema = {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in names]}
    return {
        "description": "For one image file an answer, for a form or JSON a list.",
        "content": {_JSON: {"schema": schema, **_example("answer", components)}},
    }


def _example(name: str, components: dict[str, Any]) -> dict[str, Any]:
    if name not in components["examples"]:
        return {}
    return {"examples": {"certificate": {"$ref": f"#/components/examples/{name}"}}}


def _examples(versions: Sequence[Version]) -> dict[str, Any]:
    """The photo of the first certificate that has one, and what is certified of it."""
    for version in versions:
        photo = (version.artifact.metadata.certificate or {}).get("photo")
        if photo is not None:
            return {
                "photo": {
                    "summary": "The photo of the file's certificate.",
                    "value": {"images": [{"b64": photo["jpeg"]}]},
                },
                "answer": {
                    "summary": "What is certified of that photo.",
                    "value": _certified(version, photo["artifact"]),
                },
            }
    return {}


def _certified(version: Version, probabilities: Sequence[float]) -> dict[str, Any]:
    labels = version.artifact.metadata.labels
    order = sorted(range(len(labels)), key=lambda i: -probabilities[i])[:3]
    return {
        "model": version.model, "version": version.number, "sha256": version.sha256,
        "label": labels[order[0]],
        "top": [{"index": i, "label": labels[i], "probability": probabilities[i]} for i in order],
        "confidence": None, "unknown": None, "novelty": None,
        "timing": {}, "request_id": "0af7651916cd43dd8448eb211c80319c",
    }  # fmt: skip


def _schemas(service: Service, versions: Sequence[Version]) -> dict[str, Any]:
    labels = list(dict.fromkeys(
        label for version in versions for label in version.artifact.metadata.labels
    ))  # fmt: skip
    label: dict[str, Any] = {"type": "string"}
    if 0 < len(labels) <= _MOST_LABELS:
        label["enum"] = labels
    share = {"type": "number", "minimum": 0, "maximum": 1}
    text = {"type": "string"}
    number = {"type": ["number", "null"]}
    who = {
        "model": text,
        "version": text,
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }
    timing = {"type": "object", "additionalProperties": {"type": "number"},
              "description": "Milliseconds: queue_ms, decode_ms, preprocess_ms, inference_ms; "
              "total_ms of the request."}  # fmt: skip
    of_picture = {
        "label": {"anyOf": [{"$ref": "#/components/schemas/Label"}, {"const": "unknown"}]},
        "top": {"type": "array", "items": {"$ref": "#/components/schemas/Score"}},
        "confidence": {**number, "description": "How often such an answer is right; null where "
                       "the file was not calibrated."},
        "unknown": {"type": ["boolean", "null"], "description": "Whether the picture shows what "
                    "the model has never seen; null where file or runtime cannot tell."},
        "novelty": {**number, "description": "1 is the threshold of unknown."},
        "set": {"type": "array", "items": {"$ref": "#/components/schemas/Label"}},
        "explanation": {"$ref": "#/components/schemas/Explanation"},
        "tensor_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "timing": timing,
    }  # fmt: skip
    needed = ["label", "top", "confidence", "unknown", "novelty", "timing"]
    error = {"type": "object", "required": ["error", "code"], "properties": {
        "error": {**text, "description": "For people."},
        "code": {**text, "description": "One word for programs, such as busy."}}}  # fmt: skip
    b64 = {"type": "object", "required": ["b64"], "additionalProperties": False,
           "properties": {"b64": {"type": "string", "contentEncoding": "base64"}}}  # fmt: skip
    most = service.config.max_pictures
    images = {"type": "array", "items": b64, "minItems": 1, "maxItems": most}
    several = {"anyOf": [{"type": "object", "required": needed, "properties": of_picture},
                         {"$ref": "#/components/schemas/Error"}]}  # fmt: skip
    corner = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    seen = {"type": "array", "items": share, "minItems": 4, "maxItems": 4}
    png = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}
    request_id = {"request_id": text}
    return {
        "Label": label,
        "Score": {"type": "object", "required": ["index", "label", "probability"], "properties": {
            "index": {"type": "integer", "minimum": 0}, "label": label, "probability": share}},
        "Explanation": {"type": "object", "properties": {
            "label": label, "probability": share, "method": text, "passes": {"type": "integer"},
            "size": corner, "map": png, "seen": seen}},
        "Answer": {"type": "object", "required": [*who, *needed, "request_id"],
                   "properties": {**who, **of_picture, **request_id}},
        "Answers": {"type": "object", "required": [*who, "answers", "request_id"], "properties": {
            **who, "answers": {"type": "array", "items": several}, "timing": timing, **request_id}},
        "Pictures": {"type": "object", "required": ["images"], "properties": {"images": images}},
        "Error": error,
    }  # fmt: skip


def _query(name: str, text: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": schema}


def _queries(name: str, text: str) -> dict[str, Any]:
    listed = _query(name, text, type="array", items={"type": "string"})
    return {**listed, "style": "form", "explode": True}


_QUERY = [
    _query("top", "Classes at most.", type="integer", minimum=1, default=3),
    _queries("allow", "A label that may be answered; given several times, one of them."),
    _queries("deny", "A label that may not."),
    _query("threshold", "The least probability.", type="number", minimum=0, maximum=1, default=0),
    _query("set", "Also the labels that hold the right one this often, as 0.95.", type="number",
           minimum=0.01, maximum=0.9999),
    _query("unknown", "flag: said in 'unknown'; label: in 'label' too; off: not computed.",
           type="string", enum=list(get_args(Unknown)), default="flag"),
    _query("explain", "Also where the answer came from.", type="boolean", default=False),
    _query("explain_label", "The class that this is about; by default the most probable one.",
           type="string"),
    _query("explain_passes", "How many passes of the model it may take where one is not enough.",
           type="integer", minimum=16, maximum=512),
    _query("tensor", "Also the SHA-256 of what the model was given.", type="boolean",
           default=False),
    _query("timeout_ms", "How long the answer is worth waiting for.", type="number", minimum=1,
           maximum=3_600_000),
]  # fmt: skip
