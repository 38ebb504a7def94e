"""`edgeclf inspect`: what an artifact knows about itself."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from edgeclf.system.words import printable

_ALL_LABELS = 12  # up to so many are listed
_FIRST_LABELS = 10  # of more, so many
_TITLES = {
    "calibration": "ranges",
    "data_sha256": "data",
    "origin": "made from",
    "origin_url": "origin",
}

_Rows = Iterator[tuple[str, str]]


def inspect(model: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads an artifact's metadata, after its seal was checked; needs no runtime.

    Args:
        model: An artifact of any format.

    Returns:
        Plain JSON types: ``file``, ``format``, ``size_bytes``, ``sha256``, ``format_version`` and
        every field of `edgeclf.Metadata`, the certificate's images as they are stored.

    Raises:
        ArtifactError: The file is missing, is no artifact, or has a later format version.
        IntegrityError: The file was an artifact and has been changed or cut short.

    Examples:
        >>> import edgeclf
        >>> from edgeclf import ImageSpec, Metadata
        >>> from edgeclf.artifact import save_artifact, seal_artifact
        >>> metadata = Metadata("mugs", ("dark", "bright"), ImageSpec(96, 96))
        >>> file = save_artifact(seal_artifact(b"", metadata), "mugs.onnx").path
        >>> found = edgeclf.inspect(file)
        >>> found["format"], found["labels"], found["precision"]
        ('onnx', ['dark', 'bright'], 'fp32')
    """
    from edgeclf.artifact import FORMAT_VERSION, load_artifact

    artifact = load_artifact(model)
    metadata = json.loads(json.dumps(dataclasses.asdict(artifact.metadata)))
    return {
        "file": os.fspath(model),
        "format": artifact.format,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "format_version": FORMAT_VERSION,
        **metadata,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("models", nargs="+", metavar="FILE", help="artifacts of any format")
    parser.add_argument("--json", action="store_true", help="one document; of several files a list")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    documents = [inspect(model) for model in args.models]
    if args.json:
        print(json.dumps(documents if len(documents) > 1 else documents[0], indent=2))
    else:
        print("\n\n".join("\n".join(_lines(document)) for document in documents))
    return 0


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    parts = (_file, _model, _tensors, _quantization, _training, _accuracy, _trust, _certificate)
    groups = [rows for part in parts if (rows := list(part(document)))]
    width = max(len(title) for rows in groups for title, _ in rows)
    yield printable(document["file"])
    for number, rows in enumerate(groups):
        yield from [""] * (number > 0)
        for title, text in rows:
            yield printable(f"  {title:<{width}}  {text}".rstrip())


def _file(document: Mapping[str, Any]) -> _Rows:
    yield "format", f"{document['format']}, format version {document['format_version']}"
    yield "size", f"{document['size_bytes']:,} bytes"
    yield "SHA-256", document["sha256"]


def _model(document: Mapping[str, Any]) -> _Rows:
    names = (
        "name", "version", "description", "license", "origin_url", "paper", "parameters",
    )  # fmt: skip
    yield from _facts({name: document[name] for name in names})
    labels = document["labels"]
    yield "labels", f"{len(labels):,}"
    shown = labels if len(labels) <= _ALL_LABELS else labels[:_FIRST_LABELS]
    for number, label in enumerate(shown):
        yield "", f"{number:>2}  {label}"
    if len(shown) < len(labels):
        yield "", f"and {len(labels) - len(shown):,} more"


def _tensors(document: Mapping[str, Any]) -> _Rows:
    image, scheme = document["image"], document["normalization"]
    integers = document["precision"] == "int8-full"
    shape = f"[N, {image['height']}, {image['width']}, 3]"
    yield "input", f"int8 RGB {shape}, bytes minus 128" if integers else f"uint8 RGB {shape}"
    scaled = "scaled JPEG decoding" if image["scaled_decode"] else "full-size JPEG decoding"
    share = f" of {image['crop_share']:.1%} of a side" if image["crop_share"] != 1 else ""
    yield "resize", f"{image['resize']}{share}, {image['kernel']} kernel, {scaled}"
    mean, std = (_numbers(scheme[key]) for key in ("mean", "std"))
    yield "normalisation", f"(x - {mean}) / {std} inside the graph"
    answer = f"[N, {len(document['labels'])}]"
    integer_output = f"int8 {answer}, probability = (score + 128) / 256"
    yield "output", integer_output if integers else f"float32 probabilities {answer}"
    if features := document["features"]:
        shape = ", ".join(map(str, features.get("shape", ())))
        head = "by a dense layer" if features.get("head") else "by what is not in the metadata"
        yield "features", f"float32 [N, {shape}], their mean read {head}"
        yield "", str(features.get("tensor"))


def _quantization(document: Mapping[str, Any]) -> _Rows:
    yield "precision", document["precision"]
    yield from _facts(document["quantization"] or {})
    if document["calibration"]:
        yield "calibration", _data(document["calibration"])


def _training(document: Mapping[str, Any]) -> _Rows:
    training = document["training"] or {}
    if "images" in training:
        yield "trained on", _data(training)
        shown = ("images", "data_sha256", "photos")
        training = {k: v for k, v in training.items() if k not in shown}
    yield from _facts(training)


def _accuracy(document: Mapping[str, Any]) -> _Rows:
    accuracy = document["accuracy"] or {}
    if "images" in accuracy:
        yield "evaluation", _data(accuracy, f"{accuracy.get('evaluation', '')} images".strip())
    for who in ("source", "artifact"):
        if who in accuracy:
            yield who, _top1(accuracy[who])
    if "top1_agreement" in accuracy:
        yield "agreement", f"same top-1 on {accuracy['top1_agreement']:.1%} of the images"
    if "max_change" in accuracy:
        yield "largest change", f"{accuracy['max_change']:.6f} of a probability"


def _trust(document: Mapping[str, Any]) -> _Rows:
    trust = document["trust"]
    if not trust:
        return
    temperature, novelty, measured = (trust[key] for key in ("temperature", "novelty", "held_out"))
    yield "calibrated on", _data(trust["data"]["fitted"])
    yield "measured on", _data(trust["data"]["held_out"])
    low, high = temperature["interval_95"]
    yield "temperature", f"{temperature['value']:.3f}, 95% interval {low:.3f} to {high:.3f}"
    before, after = measured["calibration_error_before"], measured["calibration_error"]
    yield "confidence", f"calibration error {after:.3f}, of the probability {before:.3f}"
    recall = f", {measured['recall']:.1%} of unknown ones" if "recall" in measured else ""
    wanted = f"{novelty['false_unknown_rate']:.1%} were asked for"
    shares = f"{measured['false_unknown']:.1%} of known photos{recall} are called so, {wanted}"
    yield "unknown", f"by {_words(novelty['score'])}; {shares}"
    covered = (f"{float(c):.0%} held {share:.1%}" for c, share in measured["coverage"].items())
    yield "sets", f"by {trust['sets']['score']}; {', '.join(covered)}"


def _certificate(document: Mapping[str, Any]) -> _Rows:
    certificate = document["certificate"]
    if certificate:
        size = len(json.dumps(certificate, ensure_ascii=False).encode())
        images = f"{len(certificate.get('images', ()))} golden images"
        photo = ", one JPEG" if certificate.get("photo") else ""
        yield "certificate", f"{images}{photo}, {size / 1e3:.1f} kB"


def _facts(record: Mapping[str, Any]) -> _Rows:
    """A row for each entry that says something."""
    for key, value in record.items():
        if value not in (None, "", [], {}):
            yield _TITLES.get(key, _words(key)), _text(value)


def _data(record: Mapping[str, Any], kind: str = "images") -> str:
    """What a set of images is known by."""
    digest = record.get("sha256") or record.get("data_sha256")
    parts = (
        f"{record['images']:,} {kind}" if "images" in record else "",
        f"seed {record['seed']}" if "seed" in record else "",
        f"SHA-256 {digest}" if digest else "",
    )
    return ", ".join(part for part in parts if part)


def _top1(record: Mapping[str, Any]) -> str:
    parts = [f"top-1 {record['top1']:.1%}"]
    if "top1_interval_95" in record:
        low, high = record["top1_interval_95"]
        parts.append(f"95% interval {low:.1%} to {high:.1%}")
    if "images" in record:
        parts.append(f"n = {record['images']:,}")
    return ", ".join(parts)


def _numbers(value: Any) -> str:
    """One number, or one for each of red, green and blue."""
    return f"({', '.join(f'{v:g}' for v in value)})" if isinstance(value, list) else f"{value:g}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(key)} {_text(entry)}" for key, entry in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)


def _words(key: str) -> str:
    return key.replace("_", " ").replace("sha256", "SHA-256")


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["inspect", *sys.argv[1:]]))
