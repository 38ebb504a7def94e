"""What Python answers, written down for the page's modules to answer the same under node."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgeclf.artifact import Features, Metadata, seal_artifact
from edgeclf.explanation.cam import class_activation
from edgeclf.explanation.methods import in_picture
from edgeclf.explanation.perturbation import random_masks, rise
from edgeclf.image import ImageSpec, resize_image
from edgeclf.inference.confidence import Confidence
from edgeclf.trust.certificate import _fingerprint
from support.services import artifact

SIZES = ((160, 208), (97, 61), (640, 480), (33, 400), (7, 5), (512, 96))
KERNELS = ("bilinear", "bicubic", "lanczos", "box")
POLICIES = ("stretch", "crop", "letterbox")
INPUTS = ((96, 96), (48, 80), (224, 160))


def write(folder: Path) -> None:
    """Writes all of them; each is a JSON file, with pixels in files beside it."""
    _write(folder, "resizing", _resizing(folder))
    _write(folder, "fingerprints", _fingerprints(folder))
    _write(folder, "trust", _trust())
    _write(folder, "turned", _turned(folder))
    _write(folder, "artifacts", _artifacts(folder))
    _write(folder, "reduced", _reduced(folder))
    _write(folder, "novelty", _novelty())
    _write(folder, "heads", _heads(folder))
    _write(folder, "maps", _maps())
    _write(folder, "rise", _rise(folder))


def _write(folder: Path, name: str, document: Any) -> None:
    (folder / f"{name}.json").write_text(json.dumps(document))


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise with an edge in it, so that every kernel overshoots somewhere."""
    rng = np.random.default_rng(seed + width * 10_000 + height)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    pixels[height // 3 :, width // 3 :] //= 8
    return Image.fromarray(pixels)


def _raw(folder: Path, image: Image.Image, name: str) -> str:
    (folder / name).write_bytes(image.convert("RGBA").tobytes())
    return name


def _resizing(folder: Path) -> list[dict[str, Any]]:
    cases = []
    for width, height in SIZES:
        image = picture(width, height)
        file = _raw(folder, image, f"{width}x{height}.rgba")
        specs = [
            ImageSpec(rows, columns, resize, kernel)  # type: ignore[arg-type]
            for kernel, resize, (rows, columns) in itertools.product(KERNELS, POLICIES, INPUTS)
        ]
        specs += [ImageSpec(*size, "crop", crop_share=0.875) for size in INPUTS]
        for spec in specs:
            name = f"{len(cases)}.{width}x{height}.rgb"
            (folder / name).write_bytes(resize_image(image, spec).tobytes())
            cases.append({"file": file, "width": width, "height": height,
                          "spec": spec.to_dict(), "expected": name})  # fmt: skip
    return cases


def _fingerprints(folder: Path) -> list[dict[str, Any]]:
    found = []
    for width, height in ((96, 96), (61, 97), (5, 3)):
        pixels = np.asarray(picture(width, height, 1))
        name = f"print.{width}x{height}.rgb"
        (folder / name).write_bytes(pixels.tobytes())
        found.append({"file": name, "fingerprint": _fingerprint(pixels)})
    return found


def _turned(folder: Path) -> list[dict[str, Any]]:
    """Each EXIF orientation, as Pillow turns it."""
    from edgeclf.image.decoding import _ORIENTATIONS

    image = picture(7, 4)
    file = _raw(folder, image, "turned.rgba")
    return [
        {"file": file, "orientation": number, "width": done.width, "height": done.height,
         "expected": _raw(folder, done, f"turned.{number}.rgba")}
        for number, method in _ORIENTATIONS.items()
        for done in [image.transpose(method)]
    ]  # fmt: skip


def _reduced(folder: Path) -> list[dict[str, Any]]:
    """JPEGs of every usual kind, as Pillow decodes them at each of its scales."""
    kinds: list[dict[str, Any]] = [
        {"subsampling": subsampling, "progressive": progressive, "quality": quality}
        for subsampling in (0, 1, 2) for progressive in (False, True) for quality in (30, 92)
    ]  # fmt: skip
    kinds += [{"restart_marker_blocks": 3}, {"keep_rgb": True}, {"optimize": True}]
    cases = []
    for width, height in ((203, 157), (64, 64), (33, 90)):
        for options in kinds:
            image = picture(width // 8 + 1, height // 8 + 1).resize((width, height))
            file = f"{len(cases)}.reduced.jpg"
            image.save(folder / file, "JPEG", **options)
            for factor in (2, 4, 8):
                with Image.open(folder / file) as opened:
                    opened.draft(None, (width // factor, height // factor))
                    size = opened.size
                    name = _raw(folder, opened, f"{file}.{factor}")
                assert size == (-(-width // factor), -(-height // factor))
                cases.append({"file": file, "factor": factor, "options": str(options),
                              "size": size, "expected": name})  # fmt: skip
    return cases


def trust_record(score: str = "plain", classes: int = 5) -> dict[str, Any]:
    """A member `trust` whose novelty needs no features."""
    return {
        "temperature": {"value": 1.7, "floor": 1e-6},
        "novelty": {"score": "confidence", "threshold": 0.6},
        "sets": {"score": score, "penalty": 0.01, "levels": [
            {"coverage": 0.8, "quantiles": [0.55]},
            {"coverage": 0.95, "quantiles": list(np.linspace(0.7, 0.95, classes))},
        ]},
    }  # fmt: skip


def _trust() -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    cases, coverages = [], (0.8, 0.9, 0.95)
    for score in ("plain", "raps"):
        record = trust_record(score)
        confidence = Confidence(record, None, 5)
        for row in rng.dirichlet(np.full(5, 0.4), 40).astype(np.float32):
            found, novelty = confidence.judge(row[np.newaxis], None)
            assert novelty is not None
            cases.append({
                "trust": record, "probabilities": row.tolist(), "confidence": float(found[0]),
                "novelty": float(novelty[0]),
                "sets": {str(c): confidence.sets.members(row.tolist(), c) for c in coverages},
            })  # fmt: skip
    return cases


def _artifacts(folder: Path) -> list[dict[str, Any]]:
    """A sealed file of each container, and what damage to it must be called."""
    sealed = artifact()
    flat = (24).to_bytes(4, "little") + b"TFL3" + bytes(40)  # as much as sealing looks at
    metadata: Metadata = dataclasses.replace(sealed.metadata, certificate=None)
    made = {"onnx": sealed, "tflite": seal_artifact(flat, metadata)}
    cases = []
    for format_, each in made.items():
        name = f"sealed.{format_}"
        (folder / name).write_bytes(each.content)
        cases.append({"file": name, "format": format_, "sha256": each.sha256,
                      "labels": list(each.metadata.labels),
                      "image": each.metadata.image.to_dict()})  # fmt: skip
    return cases


def _text(values: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _novelty() -> list[dict[str, Any]]:
    """Novelty by features, by each score that a file may have."""
    rng = np.random.default_rng(4)
    cases = []
    for score in ("residual", "scaled_residual", "cosine"):
        basis = rng.integers(-127, 128, (5, 12)).astype(np.int8)
        record = trust_record()
        record["novelty"] = {
            "score": score, "threshold": 0.7, "length": 2.5, "basis": _text(basis),
            "scale": _text(rng.uniform(0.001, 0.01, 5).astype("<f4")),
        }  # fmt: skip
        confidence = Confidence(record, 12, 5)
        features = rng.gamma(1, 1, (6, 3, 4, 12)).astype(np.float32)
        rows = rng.dirichlet(np.full(5, 0.4), 6).astype(np.float32)
        _, novelties = confidence.judge(rows, features)
        assert novelties is not None
        cases += [
            {"trust": record, "probabilities": row.tolist(), "features": each.ravel().tolist(),
             "channels": 12, "novelty": float(novelty)}
            for row, each, novelty in zip(rows, features, novelties, strict=True)
        ]  # fmt: skip
    return cases


def _heads(folder: Path) -> list[dict[str, Any]]:
    """Heads of every kind, and the weights that Python reads."""
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(6, 3)).astype("<f4")
    scale = _text(rng.uniform(0.01, 0.02, 3).astype("<f4"))
    small = rng.integers(-127, 128, (6, 3)).astype(np.int8)
    one = _text(np.ones(1, "<f4"))
    heads = [({"kind": "dense", "weights": _text(small), "scale": scale}, b"")]
    for kind, values, scales in (("int8", small, scale), ("float16", weights.astype("<f2"), one),
                                 ("float32", weights, one)):  # fmt: skip
        for by_class in (False, True):
            stored = np.ascontiguousarray(values.T if by_class else values).tobytes()
            heads.append(({"kind": "stored", "position": 7, "type": kind, "by_class": by_class,
                           "scale": scales}, b"x" * 7 + stored))  # fmt: skip
    cases = []
    for head, content in heads:
        record = {"tensor": "x", "layout": "nhwc", "shape": [2, 2, 6], "pooling": "mean",
                  "head": head}  # fmt: skip
        metadata = Metadata("m", ("a", "b", "c"), ImageSpec(8, 8), features=record)
        expected = Features.of(metadata, content).head
        assert expected is not None
        file = f"head.{len(cases)}"
        (folder / file).write_bytes(content)
        cases.append({"features": record, "labels": ["a", "b", "c"], "file": file,
                      "weights": expected.T.tolist()})  # fmt: skip
    return cases


def _maps() -> list[dict[str, Any]]:
    """Class activation maps, laid over pictures by each policy, and reduced as the service does."""
    rng = np.random.default_rng(6)
    cases = []
    for policy, (width, height) in itertools.product(POLICIES, ((320, 200), (90, 301))):
        spec = ImageSpec(64, 96, policy)  # type: ignore[arg-type]
        cells = rng.gamma(1, 1, (4, 6, 8)).astype(np.float32)
        weights = rng.normal(size=8).astype(np.float32)
        grid = class_activation(cells, weights)
        placed = in_picture(grid, (width, height), spec)
        scale = 64 / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = Image.fromarray(placed).resize(size, Image.Resampling.BOX)
        cases.append({
            "cells": cells.ravel().tolist(), "shape": list(cells.shape),
            "weights": weights.tolist(), "grid": grid.ravel().tolist(), "spec": spec.to_dict(),
            "width": width, "height": height, "size": size,
            "map": np.asarray(small).ravel().tolist(),
        })  # fmt: skip
    return cases


def _rise(folder: Path) -> dict[str, Any]:
    """Random numbers, masks, and a map of a model that likes the picture's upper left."""
    size, passes, hidden = (20, 28), 24, np.array([127, 127, 127], np.float32)
    image = np.asarray(picture(28, 20, 7))
    (folder / "rise.rgb").write_bytes(image.tobytes())

    def score(pictures: Any) -> Any:
        return pictures[:, :8, :10].mean(axis=(1, 2, 3)) / 255

    found = rise(score, image, hidden, passes, seed=0)
    return {
        "numbers": {str(seed): np.random.default_rng(seed).random(8).tolist()
                    for seed in (0, 1, 4_000_000_000)},
        "size": size, "passes": passes, "hidden": hidden.tolist(),
        "masks": [mask.ravel().tolist() for mask in random_masks(size, 3, seed=0)],
        "map": found.ravel().tolist(),
    }  # fmt: skip
