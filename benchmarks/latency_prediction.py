"""Latency and memory that a device file predicts, against those measured of students it never saw.

Students are drawn at random: width, depth, stem, head, input size and classes, and channels taken
out in groups of eight as pruning does. They are built in Keras and converted by edgeclf's own
converters to int8 and fp32, TFLite and ONNX, so that nothing that wrote the table's probes is in
them. The table is measured first, then the students in turns, all on a machine left alone; the
conversions, which take minutes, can be done before: --folder keeps them, and what lies there is not
converted again.

    python benchmarks/latency_prediction.py --folder runs/students --build
    python benchmarks/latency_prediction.py --folder runs/students --write
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from shared import Figure, finish, parse, photos

from edgeclf.artifact import Format, Precision, load_artifact
from edgeclf.measurement.harness.process import measure
from edgeclf.measurement.jobs.memory import MemoryJob
from edgeclf.measurement.latency_table import LatencyTable, read_operator, write_operator
from edgeclf.measurement.profiler.trace import quiet_means
from edgeclf.measurement.table_run import measure_table
from edgeclf.runtimes import import_runtime

FORMATS: dict[Format, str] = {"tflite": "litert", "onnx": "onnxruntime"}
PRECISIONS: tuple[Precision, ...] = ("int8", "fp32")
MEDIAN, WORST = 0.10, 0.20
# Kernel, stride and channels of EfficientNet-Lite0's blocks.
LITE0 = (
    (3, 1, 16), *((3, stride, 24) for stride in (2, 1)), *((5, stride, 40) for stride in (2, 1)),
    *((3, stride, 80) for stride in (2, 1, 1)), *((5, 1, 112) for _ in range(3)),
    *((5, stride, 192) for stride in (2, 1, 1, 1)), (3, 1, 320),
)  # fmt: skip
_SEED = 1  # the table's probes are of 0
_CALIBRATION = 16
_WARMUP_CALLS = 5
_VISITS = 3  # of each model, in turns; the quietest counts, as in the table
_RECORD = "students.json"
METHOD = (
    "students that are no probe of the table; a call is one Runtime.run of one image, the mean "
    "over the quieter half of the calls of the quietest of three visits in turns; memory is the "
    "proportional set size of a fresh process after 51 calls; error = |predicted / measured - 1|"
)


@dataclass(frozen=True)
class Design:
    """A student: what `edgeclf.networks.student` has, and the share of channels that is kept."""

    input_size: int
    width: float
    blocks: int
    stem: int
    head: int
    classes: int
    expansion: int
    kept: float


def draw(count: int, seed: int) -> Iterator[Design]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        blocks = int(rng.integers(4, 15))
        yield Design(
            input_size=16 * int(rng.integers(3, 11)),
            width=float(rng.choice([0.35, 0.5, 0.75, 1.0])),
            blocks=blocks,
            stem=int(rng.choice([8, 16, 24, 32])),
            head=int(rng.choice([64, 96, 128, 192, 256, 384, 512])),
            classes=int(rng.choice([2, 4, 10, 50])),
            expansion=int(rng.choice([3, 4, 6])),
            kept=float(rng.choice([0.25, 0.5, 0.75, 1.0])),
        )


def build(design: Design, seed: int) -> Any:
    """The student in Keras, with random weights; channels inside blocks vary around `kept`."""
    from edgeclf.networks.backend import keras, layers
    from edgeclf.networks.efficientnet_lite import conv_bn

    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)

    def eights(channels: float) -> int:
        return max(1, int(channels / 8 + 0.5)) * 8

    image = keras.Input((design.input_size, design.input_size, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalize")(image)
    x = conv_bn(x, design.stem, 3, stride=2, name="stem")
    for number, (kernel, stride, filters) in enumerate(LITE0[: design.blocks]):
        name, shortcut = f"block{number}", x
        if number:
            kept = min(1.0, design.kept * rng.uniform(0.75, 1.25))
            wide = eights(x.shape[-1] * design.expansion * kept)
            x = conv_bn(x, wide, 1, name=f"{name}_expand")
        x = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False,
                                   name=f"{name}_depthwise")(x)  # fmt: skip
        x = layers.BatchNormalization(name=f"{name}_depthwise_bn")(x)
        x = layers.ReLU(6.0, name=f"{name}_relu6")(x)
        project = eights(filters * design.width)
        project += 8 * (project < 0.9 * filters * design.width)
        x = conv_bn(x, project, 1, activation=False, name=f"{name}_project")
        if stride == 1 and x.shape[-1] == shortcut.shape[-1]:
            x = layers.Add(name=f"{name}_add")([shortcut, x])
    x = conv_bn(x, design.head, 1, name="head")
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dense(design.classes, name="logits")(x)
    return keras.Model(image, layers.Softmax(name="probabilities")(x), name="student")


def build_all(folder: Path, count: int) -> None:
    """Writes what is missing of the students' artifacts, and their operators."""
    from edgeclf.artifact import Metadata, save_artifact
    from edgeclf.converters.unchecked import convert_unchecked
    from edgeclf.image import ImageSpec, decode_image, resize_image
    from edgeclf.networks.keras_model import seal_model
    from edgeclf.networks.operators import operators_of, size_bytes_of

    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {}
    for number, design in enumerate(draw(count, _SEED)):
        model, name = build(design, number), f"s{number}"
        record[name] = {
            "design": asdict(design),
            "operators": [write_operator(o) for o in operators_of(model)],
            "size_bytes": {f"{f}.{p}": size_bytes_of(model, p, f)
                           for f in FORMATS for p in PRECISIONS},
        }  # fmt: skip
        files = {(f, p): folder / f"{name}.{p}.{f}" for f in FORMATS for p in PRECISIONS}
        if not all(path.exists() for path in files.values()):
            spec = ImageSpec(design.input_size, design.input_size)
            labels = tuple(f"class {i}" for i in range(design.classes))
            sealed = seal_model(model, Metadata(name, labels, spec))
            artifact = save_artifact(sealed, folder / f"{name}.keras")
            pictures = [path.read_bytes() for path in photos(_CALIBRATION)]
            tensors = [resize_image(decode_image(each, spec), spec) for each in pictures]
            for format_, precision in files:
                convert_unchecked(artifact, precision, np.stack(tensors), format_)
        print(name, design, flush=True)
    (folder / _RECORD).write_text(json.dumps(record, indent=1))


def measure_all(folder: Path, names: list[str], threads: int, seconds: float) -> dict[str, float]:
    """The time of a call in ms, by file."""
    calls, found = {}, dict[str, float]()
    for file in (f"{n}.{p}.{f}" for n in names for p in PRECISIONS for f in FORMATS):
        artifact = load_artifact(folder / file)
        runtime = import_runtime(FORMATS[artifact.format])(artifact, threads=threads)
        spec = artifact.metadata.image
        image = np.random.default_rng(0).integers(0, 256, (1, spec.height, spec.width, 3), np.uint8)
        calls[file] = lambda runtime=runtime, image=image: runtime.run(image)
    order = list(calls)
    for _ in range(_VISITS):
        np.random.default_rng(_SEED).shuffle(order)
        for file in order:
            for _ in range(_WARMUP_CALLS):
                calls[file]()
            times = []
            end = time.perf_counter() + seconds
            while (start := time.perf_counter()) < end:
                calls[file]()
                times.append((time.perf_counter() - start) * 1e3)
            call_ms = float(quiet_means(np.array(times)[:, np.newaxis])[0])
            found[file] = min(call_ms, found.get(file, call_ms))
    return found


def compare(table: LatencyTable, folder: Path, record: dict[str, Any], threads: int,
            seconds: float) -> list[dict[str, Any]]:  # fmt: skip
    # First, while this process has no engine whose pages were shared: so was the table measured.
    used = {
        file: measure(MemoryJob(model=str(folder / file), runtime=runtime, threads=threads))
        for name in record
        for format_, runtime in FORMATS.items()
        for file in (f"{name}.{precision}.{format_}" for precision in PRECISIONS)
    }
    measured = measure_all(folder, list(record), threads, seconds)
    rows = []
    for name, student in record.items():
        operators = [read_operator(text) for text in student["operators"]]
        for format_ in FORMATS:
            for precision in PRECISIONS:
                file, key = f"{name}.{precision}.{format_}", f"{format_}.{precision}"
                size = (folder / file).stat().st_size
                rows.append({
                    "student": name, "kind": key, "measured_ms": measured[file],
                    "predicted_ms": table.predict_ms(operators, format=format_,
                                                     precision=precision),
                    "measured_mb": used[file].phases["steady"]["pss_bytes"] / 1e6,
                    "predicted_mb": table.predict_memory_mb(operators, size, format=format_,
                                                            precision=precision),
                })  # fmt: skip
    return rows


def main() -> int:
    args = parse(
        __doc__,
        folder=("", "where the students are, or go; by default a temporary folder"),
        build=(False, "only build the students"),
        students=(20, "how many"),
        threads=(1, "threads of a call"),
        table=("", "a device file of this machine; by default measured"),
        table_seconds=(100.0, "of calls for the table"),
        seconds=(0.15, "of calls of a model at each visit"),
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        if args.build:
            build_all(folder, args.students)
            return 0
        if not (folder / _RECORD).exists():  # in a process of its own, which TensorFlow fills
            subprocess.run([sys.executable, __file__, "--build", "--folder", str(folder),
                            "--students", str(args.students)], check=True)  # fmt: skip
        record = json.loads((folder / _RECORD).read_text())
        table = LatencyTable.load(args.table) if args.table else measure_table(
            list(FORMATS), threads=args.threads, seconds=args.table_seconds
        )  # fmt: skip
        rows = compare(table, folder, record, args.threads, args.seconds)
    figures = []
    for key in table.measured:
        own = [row for row in rows if row["kind"] == key]
        for what, unit, limits in (
            ("latency", "ms", (MEDIAN, WORST)), ("memory", "mb", (None, None))
        ):  # fmt: skip
            errors = [abs(row[f"predicted_{unit}"] / row[f"measured_{unit}"] - 1) for row in own]
            for name, value, limit in (("median", statistics.median(errors), limits[0]),
                                       ("worst", max(errors), limits[1])):  # fmt: skip
                figures.append(Figure(f"{key}: error of the {what}, {name} of {len(errors)}",
                                      round(value, 4), at_most=limit))  # fmt: skip
    return finish(__file__, figures, METHOD, args.write, rows=rows, threads=args.threads,
                  students={name: each["design"] for name, each in record.items()},
                  own_errors=table.errors)  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
