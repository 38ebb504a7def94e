"""The process that a peer is measured in: a JPEG in, its label out.

Each `open_...` loads a model the way the peer's own documentation does it and returns what answers
a photo. What it imports is all that the process imports, until the first answer is there. A job
comes and its result leaves as `edgeclf.system.child` has it.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from edgeclf.errors import MeasurementError
from edgeclf.system.child import serve

WARMUP_CALLS = 2
LEAST_SAMPLES = 5


class Photo(NamedTuple):
    """A JPEG, in a file and read."""

    path: str
    content: bytes


Job = dict[str, Any]
Answer = Callable[[Photo], str]


def open_edgeclf(job: Job) -> Answer:
    from edgeclf import Classifier

    classifier = Classifier(job["model"], threads=job["threads"])
    return lambda photo: classifier.classify(photo.content).label


def pixels(photo: Photo, size: tuple[int, int]) -> Any:
    """A photo as most people read one: decoded in full, then made smaller; [1, H, W, 3]."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(photo.content)) as image:
        small = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    return np.asarray(small)[np.newaxis]


def scaled_pixels(photo: Photo, size: tuple[int, int]) -> Any:
    """A photo as somebody reads one who knows Pillow well: decoded at a reduced scale."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(photo.content)) as image:
        image.draft("RGB", (2 * size[0], 2 * size[1]))
        small = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(small)[np.newaxis]


def open_litert(job: Job, read: Callable[..., Any] = pixels) -> Answer:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=job["model"], num_threads=job["threads"])
    interpreter.allocate_tensors()
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    _, height, width, _ = given["shape"]

    def call(photo: Photo) -> str:
        interpreter.set_tensor(given["index"], read(photo, (width, height)))
        interpreter.invoke()
        return str(job["labels"][interpreter.get_tensor(answer["index"])[0].argmax()])

    return call


def open_litert_by_hand(job: Job) -> Answer:
    return open_litert(job, scaled_pixels)


def open_onnxruntime(job: Job) -> Answer:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    session = onnxruntime.InferenceSession(
        job["model"], options, providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    _, height, width, _ = given.shape

    def call(photo: Photo) -> str:
        (scores,) = session.run(None, {given.name: pixels(photo, (width, height))})
        return str(job["labels"][scores[0].argmax()])

    return call


def open_mediapipe(job: Job) -> Answer:
    """With its own reader, which takes a path and no bytes."""
    import mediapipe

    label = _mediapipe_label(job)
    return lambda photo: label(mediapipe.Image.create_from_file(photo.path))


def open_mediapipe_pillow(job: Job) -> Answer:
    """With Pillow's pixels, all of them: it makes them smaller itself."""
    import mediapipe
    import numpy as np
    from PIL import Image

    label = _mediapipe_label(job)

    def call(photo: Photo) -> str:
        with Image.open(io.BytesIO(photo.content)) as image:
            array = np.asarray(image.convert("RGB"))
        return label(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=array))

    return call


def _mediapipe_label(job: Job) -> Callable[[Any], str]:
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=job["model"]), max_results=1
    )
    classifier = vision.ImageClassifier.create_from_options(options)
    return lambda image: str(
        classifier.classify(image).classifications[0].categories[0].category_name
    )


def _silence_openvino() -> None:
    """Hides the package that would report the import to its maker; OpenVINO does without."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


def open_openvino(job: Job) -> Answer:
    _silence_openvino()
    import openvino

    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": job["threads"]}
    model = openvino.Core().compile_model(job["model"], "CPU", options)
    _, height, width, _ = model.input().partial_shape
    size = (width.get_length(), height.get_length())
    return lambda photo: str(job["labels"][model(pixels(photo, size))[0][0].argmax()])


def open_model_api(job: Job) -> Answer:
    """OpenVINO's own wrapper; OpenCV reads the photo, as in its examples."""
    _silence_openvino()
    import cv2
    import numpy as np
    from model_api.models import Model

    model = Model.create_model(
        job["model"],
        model_type="Classification",
        configuration={"labels": job["labels"], "reverse_input_channels": True},
        device="CPU",
        nstreams="1",
        nthreads=job["threads"],
    )

    def call(photo: Photo) -> str:
        image = cv2.imdecode(np.frombuffer(photo.content, np.uint8), cv2.IMREAD_COLOR)
        return str(model(image).top_labels[0].name)

    return call


def open_keras(job: Job) -> Answer:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(job["threads"])
    model = keras.saving.load_model(job["model"], compile=False)
    _, height, width, _ = model.input_shape

    def call(photo: Photo) -> str:
        scores = model.predict(pixels(photo, (width, height)), verbose=0)
        return str(job["labels"][scores[0].argmax()])

    return call


PEERS: dict[str, Callable[[Job], Answer]] = {
    "edgeclf": open_edgeclf,
    "litert": open_litert,
    "litert-by-hand": open_litert_by_hand,
    "onnxruntime": open_onnxruntime,
    "mediapipe": open_mediapipe,
    "mediapipe-pillow": open_mediapipe_pillow,
    "openvino": open_openvino,
    "model-api": open_model_api,
    "keras": open_keras,
}


def read(path: str) -> Photo:
    with open(path, "rb") as file:
        return Photo(path, file.read())


def measure_start(job: Job) -> dict[str, Any]:
    """Time from the process's start to its first answer, then memory after some more.

    Args:
        job: ``peer``, ``model``, ``labels``, ``threads``, ``started_s`` (the parent's monotonic
            clock), ``photos`` (paths by size of the photo) and ``calls`` (how many, by size).
    """
    answer = PEERS[job["peer"]](job)
    answer(read(next(iter(job["photos"].values()))[0]))
    cold_start_ms = (time.monotonic() - job["started_s"]) * 1e3

    from edgeclf.measurement.probes.memory import memory_use, peak_rss_bytes

    memory = {}
    for size, paths in job["photos"].items():
        photos = [read(path) for path in paths]
        for index in range(job["calls"][size]):
            answer(photos[index % len(photos)])
        memory[size] = {
            "steady_pss_bytes": memory_use().pss_bytes,
            "peak_rss_bytes": peak_rss_bytes(),
        }
    return {"cold_start_ms": cold_start_ms, "memory": memory}


def measure_latency(job: Job) -> dict[str, Any]:
    """Median time of an answer, from the bytes of a JPEG, by size of the photo.

    Args:
        job: As for `measure_start`, with ``seconds`` by size instead of ``calls``.
    """
    from statistics import median

    answer = PEERS[job["peer"]](job)
    found = {}
    for size, paths in job["photos"].items():
        photos = [read(path) for path in paths]
        for photo in photos[:WARMUP_CALLS]:
            answer(photo)
        times_ms: list[float] = []
        end = time.perf_counter() + job["seconds"][size]
        while len(times_ms) < LEAST_SAMPLES or time.perf_counter() < end:
            photo = photos[len(times_ms) % len(photos)]
            start = time.perf_counter()
            answer(photo)
            times_ms.append((time.perf_counter() - start) * 1e3)
        found[size] = {"n": len(times_ms), "p50_ms": median(times_ms)}
    return {"latency": found}


def measure_answers(job: Job) -> dict[str, Any]:
    """The label of every photo, by size of the photo."""
    answer = PEERS[job["peer"]](job)
    return {
        "labels": {
            size: [answer(read(path)) for path in paths] for size, paths in job["photos"].items()
        }
    }


MEASUREMENTS = {
    "start": measure_start,
    "latency": measure_latency,
    "answers": measure_answers,
}


def work(job: Job, _: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        return MEASUREMENTS[job["measure"]](job), b""
    except Exception as exc:  # a row of the comparison, whatever it is
        raise MeasurementError(f"{type(exc).__name__}: {' '.join(str(exc).split())}") from exc


if __name__ == "__main__":
    raise SystemExit(serve(work))
