"""What a network answers while it does not learn, by the fastest engine there is.

Features of a backbone, a teacher's answers, the layers below the first that is trained and what a
model to convert answers are the same computation over and over, which ONNX Runtime does in half of
the time that Keras takes. It is used where it is installed, proves on the first pictures that it
computes the same (within 1e-4 of the largest number), and is not slower than Keras there. Otherwise
Keras does it, and the log says why.

Two runs of one seed differ by the engine's last bits at most; so that a training run which is
resumed does not even differ by these, its folder remembers the engine (`RunFolder.engines`).
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

from edgeclf.networks.backend import keras, tf
from edgeclf.networks.layer_writer import UnknownLayerError
from edgeclf.networks.onnx_network import onnx_of
from edgeclf.networks.onnx_parts import parts_of
from edgeclf.system.cpu import available_cpus
from edgeclf.system.progress import log

TOLERANCE = 1e-4  # of the largest number Keras answers
PICTURES = 4  # of which Keras's answers are known
_LEAST = 1e-6  # that answers are compared with
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
        """One float32 array an end for images [N, H, W, C] of numbers as the network takes them."""
        ...


class Plain(Engine, Protocol):
    """Keras, which any other engine is compared with."""

    def untraced(self, images: npt.NDArray[Any]) -> Arrays:
        """The same layer by layer: what is asked once need not be traced for seconds."""
        ...


class KerasEngine:
    """A network of ours as it is, for bytes and numbers between them; see `Plain`.

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
        """See `Plain`."""
        return self._rows(self._core(self._normalize(images), training=False))

    @staticmethod
    def _rows(answers: Any) -> Arrays:
        return [np.asarray(answer, np.float32) for answer in keras.tree.flatten(answers)]


class OnnxEngine:
    """The network in ONNX Runtime, on all CPUs.

    Not the layers are shared out among the CPUs but the pictures, a few at a time: that takes a
    fifth less of CPU time, nobody waits at the end of a layer, and beside other work the CPU that
    gets on answers more of them. How many go through which layers at once is told by
    `edgeclf.networks.onnx_parts`.

    Args:
        model: Its weights of now are the ones that count.
        outputs: The tensors that are wanted.

    Raises:
        UnknownLayerError: A layer of it cannot be written as ONNX.
    """

    name = "ONNX Runtime"

    def __init__(self, model: keras.Model, outputs: Sequence[keras.KerasTensor]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._parts = [
            (
                onnxruntime.InferenceSession(
                    part.content, options, providers=["CPUExecutionProvider"]
                ),
                part.together,
            )
            for part in parts_of(onnx_of(model, outputs))
        ]
        self._most = max(together for _, together in self._parts)
        self._cpus = available_cpus()
        self._pool = ThreadPoolExecutor(self._cpus, thread_name_prefix="edgeclf-engine")

    @property
    def at_once(self) -> int:
        """How many pictures it takes for every CPU to be given as many as it ever is."""
        return self._cpus * self._most

    def __call__(self, images: npt.NDArray[Any]) -> Arrays:
        """See `Engine`."""
        turns = max(1, math.ceil(len(images) / self.at_once))  # of each CPU
        count = max(1, math.ceil(len(images) / (self._cpus * turns)))
        starts = range(0, len(images), count)
        parts = self._pool.map(self._run, (images[start : start + count] for start in starts))
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _run(self, images: npt.NDArray[Any]) -> Arrays:
        answers: Arrays = [np.ascontiguousarray(images, np.float32)]
        for session, together in self._parts:
            given, name = answers[0], session.get_inputs()[0].name
            starts = range(0, len(given), together)
            told = [session.run(None, {name: given[at : at + together]}) for at in starts]
            answers = [np.concatenate(arrays) for arrays in zip(*told, strict=True)]
        return answers


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
    outputs = [model.get_layer(name).output for name in ends]
    return faster(KerasEngine(model, ends), model, outputs, examples, what, engines=engines)


def faster(
    plain: Plain,
    model: keras.Model,
    outputs: Sequence[keras.KerasTensor],
    examples: npt.NDArray[Any],
    what: str,
    *,
    engines: MutableMapping[str, str] | None = None,
) -> Engine:
    """`fastest`, of any network.

    Args:
        plain: Keras, as it is asked for these tensors.
        model: A network of one image.
        outputs: Tensors of it.
        examples: As for `fastest`.
        what: As for `fastest`.
        engines: As for `fastest`.
    """
    chosen = (engines or {}).get(what)
    engine: Engine = plain
    reason = _barred(model) if chosen != plain.name else "as before"
    if not reason:
        engine, reason = _compared(plain, model, outputs, examples, again=chosen)
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
    for layer in model.layers:
        if layer.weights and layer.compute_dtype != "float32":
            return f"it computes in {layer.compute_dtype}"
    return ""


def _compared(
    plain: Plain,
    model: keras.Model,
    outputs: Sequence[keras.KerasTensor],
    examples: npt.NDArray[Any],
    again: str | None,
) -> tuple[Engine, str]:
    """The better of the two on the first pictures, and why."""
    few = examples[:PICTURES]
    try:
        fast = OnnxEngine(model, outputs)
        answers = [rows[:PICTURES] for rows in fast(examples[: fast.at_once])]
    except UnknownLayerError as exc:
        return plain, f"ONNX Runtime is not given the layer {exc}"
    except Exception as exc:  # whatever an engine of any version raises, Keras can do it
        return plain, f"ONNX Runtime failed: {type(exc).__name__}: {exc}"
    expected, keras_s = _timed(lambda: plain.untraced(few))
    worst = max(map(difference, answers, expected))
    if not worst <= TOLERANCE:  # nor where it is no number
        return plain, f"ONNX Runtime's answers differ by {worst:.1g}, more than {TOLERANCE:g}"
    if again == fast.name:
        return fast, "as before"
    _, fast_s = _timed(lambda: fast(few))
    if fast_s > _SLOWER * keras_s:
        return plain, f"ONNX Runtime takes {fast_s / keras_s:.1f} times as long here"
    return fast, f"as Keras does, but for {worst:.0e} of the largest number"


def difference(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """The largest difference, relative to the largest number; infinite of other shapes."""
    if found.shape != expected.shape:
        return math.inf
    return float(np.abs(found - expected).max() / max(_LEAST, np.abs(expected).max()))


def _timed(call: Callable[[], Arrays]) -> tuple[Arrays, float]:
    """What a call answers, and how many seconds it takes."""
    start = time.perf_counter()
    answers = call()
    return answers, time.perf_counter() - start
