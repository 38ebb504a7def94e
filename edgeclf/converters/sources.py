"""Models to convert: edgeclf's own artifacts, and models from elsewhere.

Whatever it was, it becomes a `Source`: a network from normalised float32 images to probabilities,
and the answers of the original to any images, computed by its own engine outside of any converter.
A converter's result is judged by those.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact, Metadata, is_artifact, load_artifact
from edgeclf.converters.base import FileGraph, Graph, Source, TensorFlowGraph
from edgeclf.converters.source_spec import SourceSpec
from edgeclf.errors import ArtifactError, ConversionError, OptionError
from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.runtimes.base import Float32Array
from edgeclf.system.files import sha256_of

_BATCH = 32
_SUM_TOLERANCE = 0.02  # of the probabilities of one image
# Operations that reach outside of the network; loading a SavedModel may run them.
_UNSAFE_OPERATIONS = frozenset(
    ("EagerPyFunc", "MatchingFiles", "PyFunc", "PyFuncStateless", "ReadFile", "WriteFile")
)
_SIGNATURES = ("serving_default", "default", "image_classifier")


@dataclass(frozen=True)
class SourceModel:
    """A model that is ready to be converted.

    Attributes:
        source: The network; calibration images are added later.
        answers: From uint8 [N, H, W, 3] to the original's probabilities float32 [N, classes].
        format: What it was read from.
        sha256: Of the file, or of all files of a SavedModel.
        size_bytes: Of the same.
        scores: What the file itself answers; of an artifact always ``probabilities``.
    """

    source: Source
    answers: Callable[[UInt8Array], Float32Array] = field(repr=False)
    format: str
    sha256: str
    size_bytes: int
    scores: str = "probabilities"


def open_model(path: Path, source_spec: SourceSpec) -> SourceModel:
    """Reads a model of any kind that can be converted.

    Args:
        path: A ``.keras`` artifact of edgeclf, or from elsewhere ``.keras``, ``.h5``,
            ``.tflite``, ``.onnx`` or the folder of a SavedModel.
        source_spec: What a model from elsewhere expects; not used for an artifact.

    Raises:
        ArtifactError: There is no such file, or it cannot be read as what it claims to be.
        ConversionError: It holds code and is not trusted, or is no image classifier.
        OptionError: The labels do not fit, or another convention is not what the model shows.
    """
    if not path.exists():
        raise ArtifactError(f"There is no model {path}.")
    if path.is_dir():
        return _open_foreign(path, source_spec, *_saved_model(path, source_spec))
    content = path.read_bytes()
    if is_artifact(content):
        return _open_artifact(load_artifact(path))
    readers = {".keras": _keras, ".h5": _keras, ".hdf5": _keras, ".tflite": _tflite, ".onnx": _onnx}
    if path.suffix not in readers:
        raise ArtifactError(
            f"{path} is neither an artifact of edgeclf nor a model that can be converted; expected "
            ".keras, .h5, .tflite, .onnx or the folder of a SavedModel."
        )
    return _open_foreign(path, source_spec, *readers[path.suffix](path, source_spec))


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Reads class names from ``labels.txt`` or a CSV file with the columns id and name.

    Raises:
        OptionError: It cannot be read, lacks a column, or its ids are not 0, 1, 2, ...
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise OptionError(f"Cannot read the labels {file}: {exc}.") from exc
    if file.suffix.lower() != ".csv":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    rows = list(csv.DictReader(text.splitlines(), skipinitialspace=True))
    columns = {(name or "").strip().lower(): name for name in (rows[0] if rows else {})}
    if not {"id", "name"} <= columns.keys():
        raise OptionError(
            f"{file} has the columns {', '.join(columns) or 'none'}; expected id and name."
        )
    try:
        names = {int(row[columns["id"]]): row[columns["name"]].strip() for row in rows}
    except (ValueError, AttributeError, TypeError) as exc:
        raise OptionError(f"{file} has an id that is no whole number, or a short row.") from exc
    if sorted(names) != list(range(len(rows))):
        raise OptionError(
            f"The ids in {file} are not 0 to {len(rows) - 1}, each once; they are the positions "
            "in the model's output."
        )
    return tuple(names[index] for index in range(len(names)))


def _open_artifact(artifact: Artifact) -> SourceModel:
    if artifact.format != "keras":
        raise ArtifactError(
            f"{artifact.path} is an artifact already, in {artifact.format}; convert the .keras one "
            "that it was made from."
        )
    from edgeclf.networks.builder import part
    from edgeclf.networks.keras_model import load_model, predict_probabilities

    model = load_model(artifact)
    core = part(model, "normalize", "probabilities")
    graph = TensorFlowGraph(
        lambda image: core(image, training=False), [variable.value for variable in model.variables]
    )
    return SourceModel(
        Source(graph, artifact.metadata),
        lambda images: predict_probabilities(model, images),
        artifact.format,
        artifact.sha256,
        artifact.size_bytes,
    )


def _open_foreign(
    path: Path,
    source_spec: SourceSpec,
    graph: Graph,
    predict: Callable[[Any], Any],
    shape: Sequence[int | None],
    parameters: int,
    format_: str,
) -> SourceModel:
    """What all models from elsewhere share.

    Args:
        path: Where it was read from.
        source_spec: What the user said of it.
        graph: The network in the form that the converters take.
        predict: The original, from float32 in its own layout to its own scores.
        shape: Of its input.
        parameters: How many weights it has.
        format_: What it was read from.
    """
    if source_spec.labels is None:
        raise OptionError(
            f"{path} does not say what its classes are called. Add --labels labels.txt, one name a "
            "line in the order of the output, or a CSV file with the columns id and name."
        )
    labels, sha256 = read_labels(source_spec.labels), _hash(path)
    height, width = _input_size(path, shape, source_spec)
    metadata = Metadata(
        name=path.stem,
        labels=labels,
        image=ImageSpec(height, width),
        normalization=source_spec.normalization(),
        parameters=parameters,
        training={"origin": {"file": path.name, "sha256": sha256}},
    )
    scheme = metadata.normalization

    def answers(images: UInt8Array) -> Float32Array:
        rows = []
        for start in range(0, len(images), _BATCH):
            values = scheme.apply(images[start : start + _BATCH])
            if source_spec.layout == "nchw":
                values = values.transpose(0, 3, 1, 2)
            rows.append(np.asarray(predict(np.ascontiguousarray(values)), np.float32))
        return _checked(np.concatenate(rows), path, labels, source_spec)

    answers(np.zeros((1, height, width, 3), np.uint8))  # says now what does not fit
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    size = sum(file.stat().st_size for file in files)
    return SourceModel(Source(graph, metadata), answers, format_, sha256, size, source_spec.scores)


def _input_size(
    path: Path, shape: Sequence[int | None], source_spec: SourceSpec
) -> tuple[int, int]:
    spatial, channels = (shape[1:3], shape[3:]) if source_spec.layout == "nhwc" else (
        shape[2:4], shape[1:2])  # fmt: skip
    if len(shape) != 4 or tuple(channels) not in ((3,), (None,)):
        other = "nchw" if source_spec.layout == "nhwc" else "nhwc"
        raise ConversionError(
            f"{path} takes the shape {tuple(shape)}; expected RGB images in the layout "
            f"{source_spec.layout}. If its channels come elsewhere, add --layout {other}."
        )
    given = source_spec.input_size
    if None in spatial:
        if given is None:
            raise OptionError(
                f"{path} leaves its input size open: {tuple(shape)}. Add --input-size ROWS COLUMNS."
            )
        return given
    found = (int(spatial[0] or 0), int(spatial[1] or 0))
    if given is not None and given != found:
        raise OptionError(f"{path} takes {found[0]}x{found[1]} pixels, not {given[0]}x{given[1]}.")
    return found


def _checked(
    scores: Float32Array, path: Path, labels: Sequence[str], source_spec: SourceSpec
) -> Float32Array:
    if scores.ndim != 2 or scores.shape[1] != len(labels):
        raise OptionError(
            f"{path} answers with the shape {scores.shape}, but there are {len(labels)} labels. "
            "Expected one label for each score."
        )
    if source_spec.scores == "logits":
        exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
        softmax: Float32Array = exponents / exponents.sum(axis=1, keepdims=True)
        return softmax
    sums = scores.sum(axis=1)
    if scores.min() < -_SUM_TOLERANCE or np.abs(sums - 1).max() > _SUM_TOLERANCE:
        raise OptionError(
            f"The scores of {path} are no probabilities: for one image they sum to {sums[0]:.3f}, "
            f"the smallest is {scores.min():.3f}. If they are logits, add --scores logits."
        )
    return scores


def _hash(path: Path) -> str:
    if path.is_file():
        return sha256_of(path)
    return sha256_of(*_names_and_files(path))


def _names_and_files(folder: Path) -> Iterator[str | Path]:
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        yield str(file.relative_to(folder))
        yield file


def _tensorflow_graph(
    function: Callable[[Any], Any], variables: Sequence[Any], source_spec: SourceSpec
) -> TensorFlowGraph:
    import tensorflow as tf

    def core(image: Any) -> Any:
        if source_spec.layout == "nchw":
            image = tf.transpose(image, (0, 3, 1, 2))
        scores = function(image)
        return tf.nn.softmax(scores) if source_spec.scores == "logits" else scores

    return TensorFlowGraph(core, variables)


def _keras(path: Path, source_spec: SourceSpec) -> tuple[Any, ...]:
    from edgeclf.networks.backend import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=not source_spec.trust)
    except ValueError as exc:
        if "Lambda" in str(exc) or "safe_mode" in str(exc):
            raise ConversionError(
                f"{path} holds code (a Lambda layer or the like), which loading it would run. "
                "If you know where it comes from, add --trust."
            ) from exc
        raise ArtifactError(f"Keras cannot load {path}: {exc}") from exc
    except (TypeError, OSError, KeyError) as exc:
        raise ArtifactError(f"Keras cannot load {path}: {exc}") from exc
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ConversionError(
            f"{path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; an image "
            "classifier has one of each."
        )

    def function(image: Any) -> Any:
        return model(image, training=False)

    variables = [variable.value for variable in model.variables]
    graph = _tensorflow_graph(function, variables, source_spec)
    return graph, function, model.input_shape, int(model.count_params()), path.suffix.strip(".")


def _saved_model(path: Path, source_spec: SourceSpec) -> tuple[Any, ...]:
    from tensorflow.core.protobuf import saved_model_pb2

    from edgeclf.networks.backend import tf

    if not (path / "saved_model.pb").is_file():
        raise ArtifactError(f"{path} is a folder without saved_model.pb; expected a SavedModel.")
    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as exc:  # protobuf's errors share no base class below Exception
        raise ArtifactError(f"{path} is no readable SavedModel: {exc}") from exc
    unsafe = sorted(_UNSAFE_OPERATIONS & set(_operations(proto)))
    if unsafe and not source_spec.trust:
        raise ConversionError(
            f"{path} holds operations that reach outside of the network: {', '.join(unsafe)}. "
            "If you know where it comes from, add --trust."
        )
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as exc:  # TensorFlow's loader raises whatever its parts raise
        raise ArtifactError(f"TensorFlow cannot load {path}: {exc}") from exc
    signatures = dict(loaded.signatures)
    name = next((n for n in _SIGNATURES if n in signatures), None) or next(iter(signatures), None)
    if name is None:
        raise ConversionError(f"{path} has no signature; export it with one, as serving_default.")
    signature = signatures[name]
    _, inputs = signature.structured_input_signature
    outputs = signature.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise ConversionError(
            f"The signature {name!r} of {path} takes {', '.join(inputs)} and answers "
            f"{', '.join(outputs)}; an image classifier has one of each."
        )
    ((input_name, spec),) = inputs.items()
    (output_name,) = outputs

    def function(image: Any) -> Any:
        given = {input_name: tf.cast(image, spec.dtype)}
        return tf.cast(signature(**given)[output_name], tf.float32)

    variables = list(signature.variables)
    parameters = sum(int(np.prod(variable.shape)) for variable in variables)
    graph = _tensorflow_graph(function, [loaded, *variables], source_spec)
    return graph, function, spec.shape.as_list(), parameters, "saved_model"


def _operations(proto: Any) -> Iterator[str]:
    for meta_graph in proto.meta_graphs:
        graph = meta_graph.graph_def
        yield from (node.op for node in graph.node)
        for function in graph.library.function:
            yield from (node.op for node in function.node_def)


def _tflite(path: Path, source_spec: SourceSpec) -> tuple[Any, ...]:
    from edgeclf.runtimes.litert import LiteRTRuntime

    engine, library = LiteRTRuntime.import_engine()
    content = path.read_bytes()
    try:
        interpreter: Any = engine.Interpreter(model_content=content)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as exc:
        raise ArtifactError(f"{library} cannot load {path}: {exc}") from exc
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def predict(images: Any) -> Any:
        rows = []
        for image in images:
            interpreter.set_tensor(given["index"], image[np.newaxis].astype(given["dtype"]))
            interpreter.invoke()
            rows.append(interpreter.get_tensor(answer["index"]).reshape(1, -1).copy())
        return np.concatenate(rows)

    details = interpreter.get_tensor_details()
    from edgeclf.converters.flatbuffer import constant_tensors

    stored = constant_tensors(content)
    parameters = sum(int(np.prod(d["shape"])) for d in details
                     if d["index"] in stored and d["dtype"] == np.float32)  # fmt: skip
    logits = source_spec.scores == "logits"
    graph = FileGraph("tflite", content, source_spec.layout == "nchw", logits)
    return graph, predict, given["shape"].tolist(), parameters, "tflite"


def _onnx(path: Path, source_spec: SourceSpec) -> tuple[Any, ...]:
    from edgeclf.runtimes.onnxruntime import OnnxRuntime

    onnxruntime: Any = OnnxRuntime.import_engine()
    content = path.read_bytes()
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as exc:  # onnxruntime's errors share no base class below Exception
        raise ArtifactError(f"onnxruntime cannot load {path}: {exc}") from exc
    (given,) = session.get_inputs()
    fixed_batch = isinstance(given.shape[0], int)

    def predict(images: Any) -> Any:
        parts = [image[np.newaxis] for image in images] if fixed_batch else [images]
        return np.concatenate([session.run(None, {given.name: part})[0] for part in parts])

    import onnx

    stored = onnx.load_from_string(content).graph.initializer
    parameters = sum(int(np.prod(t.dims)) for t in stored if t.data_type == onnx.TensorProto.FLOAT)
    shape = [size if isinstance(size, int) else None for size in given.shape]
    graph = FileGraph("onnx", content, source_spec.layout == "nchw", source_spec.scores == "logits")
    return graph, predict, shape, parameters, "onnx"
