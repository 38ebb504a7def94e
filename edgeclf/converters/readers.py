"""Models from elsewhere: each kind of file, read and run by its own engine.

Each reader takes a path and what the user said of the model, and raises `ArtifactError` for what
it cannot read and `ConversionError` for code that is not trusted or for what is no image
classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.converters.base import FileGraph, Graph, TensorFlowGraph
from edgeclf.converters.source_spec import SourceSpec
from edgeclf.errors import ArtifactError, ConversionError, mapped
from edgeclf.system.quiet import first_words_of

# Operations that reach outside of the network; loading a SavedModel may run them.
_UNSAFE_OPERATIONS = frozenset(
    ("EagerPyFunc", "MatchingFiles", "PyFunc", "PyFuncStateless", "ReadFile", "WriteFile")
)
_SIGNATURES = ("serving_default", "default", "image_classifier")


@dataclass(frozen=True)
class ForeignModel:
    """What a reader finds.

    Attributes:
        graph: The network in the form that the converters take.
        predict: The original, from normalised float32 in its own layout to its own scores.
        input_shape: Its own, the batch included; None where a size is open.
        parameters: How many weights it has.
        format: What it was read from.
    """

    graph: Graph
    predict: Callable[[Any], Any]
    input_shape: Sequence[int | None]
    parameters: int
    format: str


def read_keras(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """Keras's own file, ``.keras`` or ``.h5``."""
    from edgeclf.converters import keras_source

    model = keras_source.load(path, trust=source_spec.trust)
    return ForeignModel(
        keras_source.graph_of(model),
        lambda images: model(images, training=False),
        model.input_shape if source_spec.input_size else keras_source.input_shape(model),
        int(model.count_params()),
        path.suffix.strip("."),
    )


def read_saved_model(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """The folder of a SavedModel."""
    from tensorflow.core.protobuf import saved_model_pb2

    from edgeclf.networks.backend import tf

    if not (path / "saved_model.pb").is_file():
        raise ArtifactError(f"{path} is a folder without saved_model.pb; expected a SavedModel.")
    proto = saved_model_pb2.SavedModel()
    with mapped(ArtifactError, f"{path} is no readable SavedModel"):
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
    unsafe = sorted(_UNSAFE_OPERATIONS & set(_operations(proto)))
    if unsafe and not source_spec.trust:
        raise ConversionError(
            f"{path} holds operations that reach outside of the network: {', '.join(unsafe)}. "
            "If you know where it comes from, add --trust."
        )
    with mapped(ArtifactError, f"TensorFlow cannot load {path}"):
        loaded = tf.saved_model.load(str(path))
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
        inputs_by_name = {input_name: tf.cast(image, spec.dtype)}
        return tf.cast(signature(**inputs_by_name)[output_name], tf.float32)

    variables = list(signature.variables)
    parameters = sum(int(np.prod(variable.shape)) for variable in variables)
    graph = TensorFlowGraph(function, [loaded, *variables])
    return ForeignModel(graph, function, spec.shape.as_list(), parameters, "saved_model")


def _operations(proto: Any) -> Iterator[str]:
    for meta_graph in proto.meta_graphs:
        graph = meta_graph.graph_def
        yield from (node.op for node in graph.node)
        for function in graph.library.function:
            yield from (node.op for node in function.node_def)


def read_tflite(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """A float ``.tflite``."""
    from edgeclf.converters.flatbuffer import constant_tensors
    from edgeclf.runtimes.litert import LiteRTRuntime

    engine, library = LiteRTRuntime.import_engine()
    content = path.read_bytes()
    with mapped(ArtifactError, f"{library} cannot load {path}"), first_words_of(library):
        interpreter: Any = engine.Interpreter(model_content=content)
        interpreter.allocate_tensors()
    image_tensor = interpreter.get_input_details()[0]
    score_tensor = interpreter.get_output_details()[0]

    def predict(images: Any) -> Any:
        rows = []
        for image in images:
            interpreter.set_tensor(
                image_tensor["index"], image[np.newaxis].astype(image_tensor["dtype"])
            )
            interpreter.invoke()
            rows.append(interpreter.get_tensor(score_tensor["index"]).reshape(1, -1).copy())
        return np.concatenate(rows)

    stored = constant_tensors(content)
    parameters = sum(int(np.prod(detail["shape"])) for detail in interpreter.get_tensor_details()
                     if detail["index"] in stored and detail["dtype"] == np.float32)  # fmt: skip
    logits = source_spec.scores == "logits"
    graph = FileGraph("tflite", content, source_spec.layout == "nchw", logits)
    return ForeignModel(graph, predict, image_tensor["shape"].tolist(), parameters, "tflite")


def read_onnx(path: Path, source_spec: SourceSpec) -> ForeignModel:
    """A float ``.onnx``."""
    import onnx

    from edgeclf.runtimes.onnxruntime import OnnxRuntime

    onnxruntime: Any = OnnxRuntime.import_engine()
    content = path.read_bytes()
    with mapped(ArtifactError, f"onnxruntime cannot load {path}"):
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    fixed_batch = isinstance(given.shape[0], int)

    def predict(images: Any) -> Any:
        parts = [image[np.newaxis] for image in images] if fixed_batch else [images]
        return np.concatenate([session.run(None, {given.name: part})[0] for part in parts])

    stored = onnx.load_from_string(content).graph.initializer
    parameters = sum(int(np.prod(t.dims)) for t in stored if t.data_type == onnx.TensorProto.FLOAT)
    shape = [size if isinstance(size, int) else None for size in given.shape]
    graph = FileGraph("onnx", content, source_spec.layout == "nchw", source_spec.scores == "logits")
    return ForeignModel(graph, predict, shape, parameters, "onnx")
