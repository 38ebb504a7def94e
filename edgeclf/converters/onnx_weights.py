"""ONNX files that keep their weights in other files: all are taken in, from the model's folder.

An ONNX model names those files relative to its own. ONNX Runtime looks for them in the current
folder when it is given bytes, and tools differ in what links they follow; so they are read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeclf.errors import ArtifactError, mapped


def messages(message: Any, name: str) -> Iterator[Any]:
    """All messages of one kind inside a protobuf message, at any depth: of subgraphs too.

    Args:
        message: Where to look.
        name: The kind's, as ``TensorProto``; an empty one finds all.
    """
    if not name or message.DESCRIPTOR.name == name:
        yield message
    if message.DESCRIPTOR.name == "TensorProto":  # whose fields are copied when they are looked at
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in [value] if hasattr(value, "ListFields") else value:
                yield from messages(child, name)


def load_whole(path: Path) -> tuple[Any, tuple[Path, ...]]:
    """Reads an ONNX model with all of its weights.

    Returns:
        The ModelProto, which needs no other file, and the files beside it that it was read from.

    Raises:
        ArtifactError: It cannot be read, or a file that it names is missing, too short or
            outside of the model's folder.
    """
    import onnx

    with mapped(ArtifactError, f"{path} is no readable ONNX model"):
        model = onnx.load(path, load_external_data=False)
    files: dict[str, Path] = {}
    for tensor in messages(model, "TensorProto"):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        location = place.get("location", "")
        file = files.setdefault(location, _beside(path, location))
        tensor.raw_data = _read(file, place, path)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    return model, tuple(files.values())


def _beside(path: Path, location: str) -> Path:
    """The file that a model names; it must lie in the folder of the model, as both are linked."""
    try:
        file = path.parent / location
        if "\\" in location and not file.exists():  # as Windows names what lies in a folder
            file = path.parent / location.replace("\\", "/")
        target, is_file = file.resolve(), file.is_file()
    except (OSError, RuntimeError, ValueError) as exc:  # links in a circle, names that cannot be
        raise ArtifactError(
            f"{path} keeps weights in {location[:80]!r}, which cannot be a file beside it: {exc}. "
            "Export the model again, with its weights in one file of a plain name."
        ) from exc
    folders = (path.parent.resolve(), path.resolve().parent)
    if not location or not any(target.is_relative_to(folder) for folder in folders):
        raise ArtifactError(
            f"{path} keeps weights in {location!r}, which is not in the model's folder and was not "
            "read. Copy both files into one folder, and export again if the name says another."
        )
    if not is_file:
        raise ArtifactError(
            f"{path} keeps its weights in a second file, {location}, which is not there. Put it "
            "into the folder of the model, under that name."
        )
    return file


def _read(file: Path, place: dict[str, str], path: Path) -> bytes:
    with mapped(ArtifactError, f"The weights of {path} in {file} cannot be read"):
        offset = int(place.get("offset") or 0)
        with open(file, "rb") as opened:
            opened.seek(offset)
            content = opened.read(int(place["length"]) if place.get("length") else -1)
    wanted = int(place.get("length") or len(content))
    if len(content) != wanted or not content:
        raise ArtifactError(
            f"{path} keeps {wanted} B of weights at {offset} in {file}, which holds only "
            f"{len(content)} B from there: it is cut short, or of another export. Fetch both again."
        )
    return content
