"""Frozen work: what a network that is not being trained answers, by the fastest engine there is.

Features of a backbone, a teacher's answers and the layers below the first that is trained are the
same computation over and over, which ONNX Runtime does in half of the time that Keras takes. It is
used where it is installed, proves on the first pictures that it computes the same (within 1e-4 of
the largest number), and is not slower than Keras there. Otherwise Keras does it, and the log says
why.

Two runs of one seed differ by the engine's last bits at most; so that a run which is resumed does
not even differ by these, its folder remembers the engine (`RunFolder.engines`).
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeclf.networks.backend import keras, layers, tf
from edgeclf.networks.builder import part
from edgeclf.networks.onnx_network import UnknownLayerError, write_onnx
from edgeclf.system.cpu import available_cpus
from edgeclf.system.progress import log

TOLERANCE = 1e-4  # of the largest number Keras answers, or of 1 where all are smaller
_PICTURES = 8  # that both engines are shown
_TIMES = 2
_TOGETHER = 8  # pictures in one call of ONNX Runtime
_SLOWER = 1.25  # so much longer than Keras, and no measurement's chance, ONNX Runtime is left
_MODULES = ("onnx", "onnxruntime")

Arrays = list[npt.NDArray[np.float32]]


class Engine(Protocol):
    """Answers pictures.

    Attributes:
        name: What it is called in the log.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    def __call__(self, images: npt.NDArray[Any]) -> Arrays:
        """One array an end for images [N, H, W, 3] of values 0..255, uint8 or float32."""
        ...


class KerasEngine:
    """The network as it is.

    Args:
        model: In the frame of `build_classifier`.
        ends: Names of the layers whose outputs are wanted.
    """

    name = "Keras"

    def __init__(self, model: keras.Model, ends: Sequence[str]) -> None:
        outputs = [model.get_layer(name).output for name in ends]
        self._normalize = model.get_layer("normalize")
        core = keras.Model(self._normalize.output, outputs)
        signature = [tf.TensorSpec((None, *core.input_shape[1:]), core.inputs[0].dtype)]
        self._core = core
        self._traced = tf.function(lambda x: core(x, training=False), input_signature=signature)

    def __call__(self, images: npt.NDArray[Any]) -> Arrays:
        """See `Engine`."""
        return self._rows(self._traced(self._normalize(images)))

    def untraced(self, images: npt.NDArray[Any]) -> Arrays:
        """The same layer by layer: what is asked once or twice need not be traced for seconds."""
        return self._rows(self._core(self._normalize(images), training=False))

    @staticmethod
    def _rows(answers: Any) -> Arrays:
        return [np.asarray(answer, np.float32) for answer in keras.tree.flatten(answers)]


class OnnxEngine:
    """The network in ONNX Runtime, on all CPUs.

    Not the layers are shared out among the CPUs but the pictures, a few at a time: that takes a
    fifth less of CPU time, nobody waits at the end of a layer, and beside other work the CPU that
    gets on answers more of them.

    Args:
        model: In the frame of `build_classifier`; its weights of now are the ones that count.
        ends: Names of the layers whose outputs are wanted.

    Raises:
        UnknownLayerError: A layer of it cannot be written as ONNX.
    """

    name = "ONNX Runtime"

    def __init__(self, model: keras.Model, ends: Sequence[str]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        content = write_onnx(model, ends)
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._cpus = available_cpus()
        self._pool = ThreadPoolExecutor(self._cpus, thread_name_prefix="edgeclf-frozen")

    def __call__(self, images: npt.NDArray[Any]) -> Arrays:
        """See `Engine`."""
        count = min(_TOGETHER, max(1, math.ceil(len(images) / self._cpus)))
        starts = range(0, len(images), count)
        parts = self._pool.map(self._run, (images[start : start + count] for start in starts))
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _run(self, images: npt.NDArray[Any]) -> Arrays:
        given = np.ascontiguousarray(images, np.float32)
        answers: Arrays = self._session.run(None, {self._input: given})
        return answers


class FrozenPart(layers.Layer):
    """An engine as a layer of a network that is trained above it.

    Args:
        engine: Answers one end.
        shape: Of what it answers a picture.
    """

    def __init__(self, engine: Engine, shape: Sequence[int]) -> None:
        super().__init__(trainable=False)
        self._engine, self._shape = engine, tuple(shape)

    def call(self, images: Any) -> Any:
        """The answers, float32, for images of values 0..255."""
        maps = tf.numpy_function(lambda given: self._engine(given)[0], [images], tf.float32)
        return tf.ensure_shape(maps, (None, *self._shape))

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """For Keras, which would call it otherwise."""
        return (input_shape[0], *self._shape)


def frozen_end(model: keras.Model) -> str | None:
    """The layer up to which nothing of a network is trained, and through which all goes.

    Args:
        model: In the frame of `build_classifier`; its layers say by ``trainable`` what learns.

    Returns:
        Its name; None where training starts with the first layer that has weights.
    """
    depths = model._nodes_by_depth
    for depth in sorted(depths, reverse=True):
        for node in depths[depth]:
            if not node.operation.trainable_weights:
                continue
            (given, *_) = node.input_tensors
            below = given._keras_history.operation
            has_weights = any(layer.weights for layer in _before(model, below.name))
            return below.name if has_weights and _is_cut(model, below.name) else None
    return None


def _before(model: keras.Model, end: str) -> list[Any]:
    outputs = model.get_layer(end).output
    return list(keras.Model(model.inputs, outputs).layers)


def _is_cut(model: keras.Model, end: str) -> bool:
    """Whether nothing goes around that layer."""
    try:
        part(model, end, "logits")
    except ValueError:
        return False
    return True


def fastest(
    model: keras.Model,
    ends: Sequence[str],
    examples: npt.NDArray[Any],
    what: str,
    *,
    engines: MutableMapping[str, str] | None = None,
) -> Engine:
    """The engine that answers for a network whose weights do not change any more.

    Args:
        model: In the frame of `build_classifier`.
        ends: Names of the layers whose outputs are wanted.
        examples: Images [N, H, W, 3] like those to come; the first few of them are compared.
        what: What is computed, for the log.
        engines: The engines a run has chosen before, by `what`: those are taken again, as long as
            they are right. A new choice is added.
    """
    plain = KerasEngine(model, ends)
    chosen = (engines or {}).get(what)
    engine: Engine = plain
    reason = _barred(model) if chosen != plain.name else "as before"
    if not reason:
        engine, reason = _compared(plain, model, ends, examples[:_PICTURES], again=chosen)
    if engines is not None:
        engines[what] = engine.name
    log(f"{what} by {engine.name}: {reason}")
    return engine


def _barred(model: keras.Model) -> str:
    """Why Keras it is without any comparison; empty where one is to be made."""
    missing = [module for module in _MODULES if importlib.util.find_spec(module) is None]
    if missing:
        return f"{' and '.join(missing)} would be faster, and not installed"
    if tf.config.list_physical_devices("GPU"):
        return "there is a GPU"
    if model.get_layer("logits").compute_dtype != "float32":
        return "it computes in float16"
    return ""


def _compared(
    plain: KerasEngine,
    model: keras.Model,
    ends: Sequence[str],
    examples: npt.NDArray[Any],
    again: str | None,
) -> tuple[Engine, str]:
    """The better of the two on a few pictures, and why."""
    try:
        fast = OnnxEngine(model, ends)
    except UnknownLayerError as exc:
        return plain, f"ONNX Runtime is not given the layer {exc}"
    except Exception as exc:  # whatever an engine of any version raises, Keras can do it
        return plain, f"ONNX Runtime failed: {type(exc).__name__}: {exc}"
    answers = fast(examples)
    worst = max(map(_difference, answers, plain.untraced(examples)))
    if not worst <= TOLERANCE:  # nor where it is no number
        return plain, f"ONNX Runtime's answers differ by {worst:.1g}, more than {TOLERANCE:g}"
    if again == fast.name:
        return fast, "as before"
    ratio = _least_s(lambda: plain.untraced(examples)) / _least_s(lambda: fast(examples))
    if ratio < 1 / _SLOWER:
        return plain, f"ONNX Runtime takes {1 / ratio:.1f} times as long here"
    return fast, f"{ratio:.1f} times as fast as Keras, largest difference {worst:.0e}"


def _difference(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """The largest difference, relative to the largest number, or to 1 where that is smaller."""
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


def _least_s(call: Callable[[], object]) -> float:
    def once() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return min(once() for _ in range(_TIMES))
