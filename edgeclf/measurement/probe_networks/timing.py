"""Times probe networks: whole calls as users make them, and operators by the engine's profiler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact, Metadata, Precision, seal_artifact
from edgeclf.errors import MeasurementError
from edgeclf.image import ImageSpec
from edgeclf.measurement.probe_networks.onnx import onnx_network
from edgeclf.measurement.probe_networks.plan import ProbeLayer
from edgeclf.measurement.probe_networks.tflite import tflite_network
from edgeclf.measurement.profiler.profile import open_profiler, timed_ms
from edgeclf.measurement.profiler.trace import Step, quiet_means
from edgeclf.runtimes import import_runtime

RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime"}
_WARMUP_CALLS = 5
_ROUNDS = 2  # of calls without and with the profiler, in turns
_MAX_PLAIN, _MAX_PROFILED = 1000, 60  # calls a round; a trace holds every operator of each
_MULTIPLIES = ("conv", "depthwise", "dense")


def probe_artifact(layers: Sequence[ProbeLayer], format_: str, precision: Precision) -> Artifact:
    """A probe network as a sealed artifact, which every runtime and measurement takes."""
    write = tflite_network if format_ == "tflite" else onnx_network
    content = write(layers, int8=precision == "int8")
    rows, columns, _ = layers[0].shape.input
    labels = tuple(f"class {number}" for number in range(layers[-1].shape.output[2]))
    return seal_artifact(content, Metadata("probe", labels, ImageSpec(rows, columns),
                                           precision=precision))  # fmt: skip


def time_network(
    layers: Sequence[ProbeLayer],
    format_: str,
    precision: Precision,
    *,
    threads: int,
    seconds: float,
) -> dict[str, Any]:
    """Times one network.

    Args:
        layers: The network.
        format_: ``tflite`` (LiteRT) or ``onnx`` (ONNX Runtime).
        precision: ``int8`` or ``fp32``.
        threads: Threads for one call.
        seconds: Of calls, half of them with the profiler on.

    Returns:
        ``call_ms``, of one `Runtime.run` of one image; ``operators_ms``, one for each layer; and
        ``calls``. Both are means over the quieter half of the calls.

    Raises:
        MeasurementError: The engine has no profiler, or runs other operators than it was given.
    """
    artifact = probe_artifact(layers, format_, precision)
    name = RUNTIMES[format_]
    runtime = import_runtime(name)(artifact, threads=threads)
    profiler = open_profiler(name, artifact.content, threads, counts=False)
    rows, columns, _ = layers[0].shape.input
    image = np.random.default_rng(0).integers(0, 256, (1, rows, columns, 3), np.uint8)
    calls = (lambda: runtime.run(image), profiler.call_profiled)
    for call in calls:
        for _ in range(_WARMUP_CALLS):
            call()
    plain: list[float] = []
    for _ in range(_ROUNDS):
        plain += timed_ms(calls[0], seconds / _ROUNDS / 2, _MAX_PLAIN)
        timed_ms(calls[1], seconds / _ROUNDS / 2, _MAX_PROFILED)
    runtime.close()
    trace = profiler.trace()
    times_ms = quiet_means(trace.times_us[_WARMUP_CALLS:]) / 1e3
    return {
        "call_ms": float(quiet_means(np.array(plain)[:, np.newaxis])[0]),
        "operators_ms": by_layer(layers, trace.steps, times_ms.tolist()),
        "calls": len(plain),
    }


def by_layer(
    layers: Sequence[ProbeLayer], steps: Sequence[Step], times_ms: Sequence[float]
) -> list[float]:
    """The time of each layer of a network, from that of the engine's operators.

    What multiplies, and the additions, come in the order of the network. What runs before the
    first convolution belongs to ``quantize``, the rest to ``pool``, and an addition that the engine
    has taken into a convolution costs nothing of its own.

    Raises:
        MeasurementError: The engine multiplies other operators than the network has.
    """
    found = [0.0] * len(layers)
    places = {kind: [i for i, layer in enumerate(layers) if layer.shape.kind == kind]
              for kind in ("quantize", "add", "pool", "softmax")}  # fmt: skip
    multiplies = [i for i, layer in enumerate(layers) if layer.shape.kind in _MULTIPLIES]
    ran = [step for step in steps if step.multiply_adds != 0]
    wrong = len(ran) != len(multiplies) or any(
        step.multiply_adds not in (None, layers[place].shape.multiply_adds)
        for step, place in zip(ran, multiplies, strict=True)
    )
    if wrong:
        raise MeasurementError(
            f"The engine ran {len(ran)} operators that multiply, or others, of a network with "
            f"{len(multiplies)}. A latency table needs an engine that keeps them as they are."
        )
    next_product = iter(multiplies)
    next_add = iter(places["add"])
    place = places["quantize"][0]
    for step, ms in zip(steps, times_ms, strict=True):
        here = place
        if step.multiply_adds != 0:
            here = next(next_product)
            place = places["pool"][0]
        elif "Add" in step.type:
            here = next(next_add, place)
        elif "Softmax" in step.type:
            here = places["softmax"][0]
        found[here] += ms
    return found
