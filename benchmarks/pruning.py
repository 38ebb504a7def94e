"""How much faster a pruned network is, and whether its quality is kept.

A quarter, half and three quarters of the multiply-adds of the demo's student, as it was distilled,
are pruned by `edgeclf.prune` with its defaults, each model is converted to four files, and their
runtime calls are measured in turns in fresh processes. Quality is top-1 on the evaluation photos,
of the file.

The control leaves the channels and sets the smallest weights of the 1x1 convolutions to zero, as
many of each layer, held at zero while the same answers are learnt back; fp32 TFLite of it, written
dense and by the converter's EXPERIMENTAL_SPARSITY, against the network as it was, one thread, calls
in turns in one process.

    python benchmarks/pruning.py --work runs/pruning --write

Models and files in the work folder are used again; --only make stops before measuring, --only
measure makes nothing. --model mugs-teacher does the same with the teacher.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from shared import PHOTOS, Figure, finish, interleaved_ms, medians, parse, results_path

import edgeclf
from edgeclf import Artifact, PruningConfig, load_artifact
from edgeclf.comparison.paired_latency import Latencies, Timed, measure_latencies
from edgeclf.metrics.accuracy import accuracy_record
from edgeclf.metrics.statistics import paired_ratio
from edgeclf.metrics.tflite_graph import read_operators
from edgeclf.system import files

PRUNED = (0, 25, 50, 75)  # per cent of the multiply-adds
SPARSITIES = (50, 75, 90)  # per cent of the weights of 1x1 convolutions
TARGETS = ("fp32.tflite", "int8.tflite", "fp32.onnx", "int8.onnx")
TRAIN = PHOTOS.parent / "train"
ANY_LOSS = 1.0  # the gate's tolerance: what a file loses is what is measured here
ASKED_SPEED, ASKED_LOSS = 1.5, 1.0  # of int8, half pruned
BURST = 20


def made(source: Path, per_cent: int, work: Path, seed: int) -> Path:
    """The pruned ``.keras`` artifact; pruned by nothing, a copy of the source."""
    folder = work / f"{source.stem}-{per_cent}-seed{seed}"
    path = folder / (source.name if per_cent == 0 else f"{source.stem}-pruned.keras")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if per_cent == 0:
            shutil.copy(source, path)
        else:
            edgeclf.prune(source, TRAIN, keep=1 - per_cent / 100, evaluation=PHOTOS, out=folder,
                          seed=seed)  # fmt: skip
    return path


def converted(path: Path) -> dict[str, Artifact]:
    """Its file of each target."""
    found = {target: path.with_suffix(f".{target}") for target in TARGETS}
    missing = [target for target, file in found.items() if not file.exists()]
    if missing:
        edgeclf.convert(path, calibration=TRAIN, evaluation=PHOTOS, to=missing, tolerance=ANY_LOSS)
    return {target: load_artifact(file) for target, file in found.items()}


def top1(artifact: Artifact) -> dict[str, Any]:
    assert artifact.metadata.accuracy is not None, "edgeclf.convert measured it"
    record: dict[str, Any] = artifact.metadata.accuracy["artifact"]
    return record


def table(
    models: Mapping[int, dict[str, Artifact]], threads: int, rounds: int
) -> list[dict[str, Any]]:
    """A row for each share and target: latency, how much faster than unpruned, size, top-1."""
    timed = {
        (per_cent, target): Timed(Path(str(file.path)), file.format)
        for per_cent, by_target in models.items()
        for target, file in by_target.items()
    }
    rows = []
    for target in TARGETS:  # in turns with one another are those that are compared
        found = measure_latencies(
            [timed[per_cent, target] for per_cent in models], threads, rounds=rounds, seconds=0.7
        )
        if found.errors:
            raise SystemExit(f"not measured: {found.errors}")
        for per_cent in models:
            rows.append(row(found, timed, models, per_cent, target))
            print(rows[-1])
    return rows


def row(
    found: Latencies,
    timed: Mapping[tuple[int, str], Timed],
    models: Mapping[int, dict[str, Artifact]],
    per_cent: int,
    target: str,
) -> dict[str, Any]:
    whole, this = timed[0, target], timed[per_cent, target]
    faster = paired_ratio(found.medians_ms[whole], found.medians_ms[this])
    file, settings = models[per_cent][target], {}
    if file.metadata.training is not None and per_cent:
        settings = file.metadata.training["settings"]
    return {
        "pruned_percent": per_cent,
        "target": target,
        "runtime": str(found.runtimes[this].name),
        "threads": found.runtimes[this].threads,
        "median_ms": found.p50_ms(this),
        "times_faster": faster[0],
        "times_faster_95": list(faster[1:]),
        "size_bytes": file.size_bytes,
        "parameters": file.metadata.parameters,
        "kept_multiply_adds": settings.get("kept_multiply_adds", 1.0),
        "top1": top1(file)["top1"],
        "top1_interval_95": top1(file)["top1_interval_95"],
        "loss_points": 100 * (top1(models[0][target])["top1"] - top1(file)["top1"]),
        "sha256": file.sha256,
    }


def control(source: Path, work: Path, seed: int) -> dict[str, Path]:
    """fp32 TFLite of the network as it is, and with zeros: dense and, where it can be, sparse."""
    from edgeclf.networks.keras_model import load_model

    folder = work / f"{source.stem}-control-seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"as it was": folder / "whole.tflite"}
    for sparsity in SPARSITIES:
        paths[f"{sparsity} % zeros, dense"] = folder / f"{sparsity}.dense.tflite"
        paths[f"{sparsity} % zeros, sparse"] = folder / f"{sparsity}.sparse.tflite"
    if all(path.exists() for path in paths.values()):
        return paths
    model = load_model(load_artifact(source))
    paths["as it was"].write_bytes(float_tflite(model, sparse=False))
    scores = {"as it was": judged(model, source)}
    for sparsity in SPARSITIES:
        with_zeros = masked(source, sparsity, folder, seed)
        for kind in ("dense", "sparse"):
            name = f"{sparsity} % zeros, {kind}"
            paths[name].write_bytes(float_tflite(with_zeros, sparse=kind == "sparse"))
            scores[name] = judged(with_zeros, source)
    files.write_json(folder / "top1.json", scores)
    return paths


def masked(source: Path, per_cent: int, folder: Path, seed: int) -> Any:
    """The network with its smallest 1x1 weights at zero, taught again from what it was."""
    from edgeclf.networks.backend import keras
    from edgeclf.networks.keras_model import load_model
    from edgeclf.training.data import open_training_data
    from edgeclf.training.distillation import fit_student
    from edgeclf.training.soft_targets import PhotoPairs, SoftTargetCache, compute_soft_targets
    from edgeclf.training.teachers import open_teacher

    data = open_training_data(TRAIN, PHOTOS, folder, seed)
    teacher = open_teacher(load_artifact(source), data.photos.labels)
    images = data.images(data.photos, teacher.spec)
    config = PruningConfig(keep=0.5, seed=seed)
    told = compute_soft_targets(
        teacher, PhotoPairs(images, images, data.photos.targets), student_spec=teacher.spec,
        views=config.views, seed=seed, cache=SoftTargetCache(data.folder / "cache", data.photos),
    )  # fmt: skip
    model = load_model(load_artifact(source))
    masks = {}
    for layer in model.layers:
        if type(layer) is keras.layers.Conv2D and layer.kernel_size == (1, 1):
            kernel = layer.kernel.numpy()
            masks[layer.name] = np.abs(kernel) >= np.quantile(np.abs(kernel), per_cent / 100)
            layer.kernel.constraint = held_at_zero(masks[layer.name])
            layer.kernel.assign(kernel * masks[layer.name])
    fit_student(model, told, config.distillation())
    for name, mask in masks.items():
        if (model.get_layer(name).kernel.numpy()[~mask] != 0).any():
            raise SystemExit(f"zeros of {name} did not hold")
    return model


def held_at_zero(mask: np.ndarray) -> Callable[[Any], Any]:
    return lambda kernel: kernel * mask.astype(np.float32)


def float_tflite(model: Any, *, sparse: bool) -> bytes:
    """The network behind its normalisation, by TensorFlow's converter."""
    from edgeclf.networks.backend import keras, tf

    body = keras.Model(model.get_layer("normalize").output, model.output)
    module = tf.Module()
    module.kept = [variable.value for variable in body.variables]
    module.function = tf.function(
        lambda x: body(x, training=False),
        input_signature=[tf.TensorSpec((1, *body.input.shape[1:]), tf.float32)],
    )
    concrete = module.function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    converter.experimental_lower_to_saved_model = False  # as edgeclf's own converter does
    if sparse:
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    content: bytes = converter.convert()
    return content


def judged(model: Any, source: Path) -> dict[str, Any]:
    from edgeclf.datasets.cache import cache_photos
    from edgeclf.datasets.photos import find_photos
    from edgeclf.networks.keras_model import predict_probabilities

    metadata = load_artifact(source).metadata
    photos = find_photos(PHOTOS, metadata.labels)
    images = cache_photos(photos, metadata.image, source.parent / "cache")
    return accuracy_record(predict_probabilities(model, images), photos)


def control_rows(paths: Mapping[str, Path], rounds: int) -> list[dict[str, Any]]:
    """Latency and size of the control's files, and what operators they hold."""
    from ai_edge_litert.interpreter import Interpreter

    calls = {}
    for name, path in paths.items():
        engine = Interpreter(model_content=path.read_bytes(), num_threads=1)
        engine.allocate_tensors()
        shape = engine.get_input_details()[0]["shape"]
        pixels = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        engine.set_tensor(engine.get_input_details()[0]["index"], pixels)
        calls[name] = engine.invoke
    samples = interleaved_ms(calls, rounds, BURST, warmup=30)
    by_round = {
        name: [float(np.median(each)) for each in np.array_split(values, rounds)]
        for name, values in samples.items()
    }
    scores = json.loads((next(iter(paths.values())).parent / "top1.json").read_text())
    rows = []
    for name, path in paths.items():
        faster = paired_ratio(by_round["as it was"], by_round[name])
        kinds = Counter(operator.kind for operator in read_operators(path.read_bytes()))
        key = name if name in scores else "as it was"
        rows.append({
            "control": name,
            "median_ms": medians(samples)[name],
            "times_faster": faster[0],
            "times_faster_95": list(faster[1:]),
            "size_bytes": path.stat().st_size,
            "densify_operators": kinds["DENSIFY"],
            "top1": scores[key]["top1"],
            "top1_interval_95": scores[key]["top1_interval_95"],
        })  # fmt: skip
        print(rows[-1])
    return rows


def draw(rows: Sequence[Mapping[str, Any]], zeros: Sequence[Mapping[str, Any]], to: Path) -> None:
    """Speed and top-1 over the share that is pruned, one line a target."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "edgeclf", "font.size": 9})
    figure, (speed, quality) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    names = {"tflite": "LiteRT", "onnx": "ONNX Runtime"}
    for target, colour in zip(TARGETS, ("#8ab4d8", "#1f5f99", "#f0b27a", "#c0561a"), strict=True):
        shown = [row for row in rows if row["target"] == target]
        pruned = [row["pruned_percent"] for row in shown]
        precision, _, format = target.partition(".")
        label = f"{precision}, {names[format]}"
        low, high = (
            [abs(row["times_faster"] - row["times_faster_95"][end]) for row in shown]
            for end in (0, 1)
        )
        speed.errorbar(pruned, [row["times_faster"] for row in shown], yerr=[low, high],
                       color=colour, marker="o", markersize=4, capsize=2, label=label)  # fmt: skip
        quality.plot(pruned, [100 * row["top1"] for row in shown], color=colour, marker="o",
                     markersize=4, label=label)  # fmt: skip
    sparse = [row for row in zeros if row["control"].endswith("sparse")]
    at = [int(row["control"].partition(" ")[0]) for row in sparse]
    words = {"color": "#777777", "marker": "s", "markersize": 4, "linestyle": "--",
             "label": "control: zeros, fp32, LiteRT"}  # fmt: skip
    speed.plot(at, [row["times_faster"] for row in sparse], **words)
    quality.plot(at, [100 * row["top1"] for row in sparse], **words)
    speed.axhline(1, color="#cccccc", linewidth=0.8, zorder=0)
    speed.set(xlabel="% of multiply-adds pruned (control: % zeros)", ylabel="times faster")
    quality.set(xlabel="% of multiply-adds pruned (control: % zeros)", ylabel="top-1, %")
    speed.legend(frameon=False, fontsize=8)
    figure.savefig(to, metadata={"Date": None})
    print(f"stored in {to}")


def judge(rows: Sequence[Mapping[str, Any]], threads: int) -> list[Figure]:
    figures = []
    for row in rows:
        if row["pruned_percent"] == 50 and row["target"].startswith("int8"):
            name = f"half pruned, {row['target']}, {threads} thread(s)"
            interval = "[{:.2f}, {:.2f}]".format(*row["times_faster_95"])
            figures += [
                Figure(f"{name}: times faster", row["times_faster"], at_least=ASKED_SPEED,
                       note=interval),
                Figure(f"{name}: top-1 lost", row["loss_points"], "points", at_most=ASKED_LOSS),
            ]  # fmt: skip
    return figures


def main() -> int:
    args = parse(
        __doc__,
        work=(Path("runs/pruning"), "where models and files go, and are found again"),
        model=("mugs", "the demo's artifact to prune"),
        seed=(0, "of the training"),
        rounds=(7, "turns of each file"),
        threads=(1, "of an engine"),
        only=("all", "make, measure or all"),
    )
    source = args.artifacts / f"{args.model}.keras"
    models = {p: converted(made(source, p, args.work, args.seed)) for p in PRUNED}
    zeros = control(source, args.work, args.seed)
    if args.only == "make":
        return 0
    rows = table(models, args.threads, args.rounds)
    zero_rows = control_rows(zeros, 20 * args.rounds)
    if args.write:
        draw(rows, zero_rows, results_path(args.write, __file__, "svg"))
    method = (
        f"{source.name} pruned by edgeclf.prune with its defaults, seed {args.seed}, each "
        f"converted by edgeclf.convert; calls of one picture, {args.rounds} fresh processes of "
        f"each file in turns, medians, ratio by signed ranks; {args.threads} thread(s)"
    )
    return finish(__file__, judge(rows, args.threads), method, args.write, rows=rows,
                  control=zero_rows)  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
