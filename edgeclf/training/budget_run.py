"""One run of `edgeclf.fit`: from photos, a teacher and a budget to students that keep to it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeclf.artifact import Artifact, save_artifact, seal_artifact
from edgeclf.comparison.paired_latency import Timed, measure_latencies
from edgeclf.converters.config import ConversionConfig
from edgeclf.converters.pipeline import convert_all
from edgeclf.converters.sources import SourceModel
from edgeclf.errors import MeasurementError, QualityGateError
from edgeclf.measurement.harness.process import measure
from edgeclf.measurement.jobs.memory import MemoryJob
from edgeclf.measurement.latency_table import LatencyTable
from edgeclf.networks.student_design import StudentDesign
from edgeclf.reporting import budget_page as pages
from edgeclf.reporting.conversion_page import to_html, to_markdown
from edgeclf.reporting.html import write_pages
from edgeclf.runtimes import DEFAULT_RUNTIME
from edgeclf.system import files
from edgeclf.system.environment import environment
from edgeclf.system.progress import log
from edgeclf.training import run_lock
from edgeclf.training.budget import Budget, Cost, Room, find_room
from edgeclf.training.budget_config import BudgetConfig
from edgeclf.training.data import TrainingData
from edgeclf.training.design_search import DesignSearch, finalists
from edgeclf.training.fit import use_seed
from edgeclf.training.run_folder import run_config
from edgeclf.training.teachers import open_teacher
from edgeclf.training.workshop import Workshop

SCHEMA = "edgeclf.fit/1"
_ROUNDS = 5  # of measuring the finalists in turns
_SECONDS = 0.5
_UNKNOWN = (
    "passes its gate with int16 activations only, which take many times as long as int8 and stand "
    "in no device's table; measure it on the device"
)


def fit_to_budget(
    model: Artifact | SourceModel, table: LatencyTable, data: TrainingData, config: BudgetConfig
) -> tuple[Artifact, ...]:
    """Searches a student within a budget and writes the one that is recommended.

    Args:
        model: The teacher.
        table: Of the device.
        data: What the students learn and are judged by.
        config: The budget, and how it is searched.

    Returns:
        ``NAME.keras`` and the files made of it, in the order of the targets.

    Raises:
        ArtifactError: The teacher does not know a class of the photos.
        OptionError: The table does not tell of a target.
        QualityGateError: No design keeps to the budget by prediction, or no finalist does by
            measurement and answers as its network does.
        TrainingError: No trial came to its end, or another process works in this folder.
    """
    lock = run_lock.acquire(data.folder / f"{data.name}.students")
    use_seed(config.seed)
    budget = Budget(config, table, len(data.photos.labels))
    room = find_room(budget)
    log(
        f"{len(room.within):,} of {room.looked_at:,} designs are predicted to keep to the budget: "
        f"{budget}"
    )
    teacher = open_teacher(model, data.photos.labels)
    settings = {
        "teacher_sha256": teacher.sha256,
        **config.distillation().record(),
    }
    workshop = Workshop(teacher, data, config, settings)
    made = _search(room, workshop, teacher.sha256, data, config)
    chosen = finalists(made, config.finalists)
    written = [_Finalist.make(each, workshop, data, config) for each in chosen]
    figures = _measured(written, table, config)
    best = _recommended(written, figures, budget)
    record = _record(room, budget, made, written, figures, best, workshop, data, config, table)
    path = data.folder / f"{data.name}.fit.json"
    files.write_json(path, record)
    write_pages(path, record, pages.to_markdown, pages.to_html)
    log(pages.describe(record))
    for line in pages.front_lines(record):
        log(line)
    del lock
    if best is None:
        raise QualityGateError(
            f"No finalist keeps to the budget ({budget}) and answers as its network does. "
            f"{_nearest(written, figures, budget)}{path} tells what each came to. Raise the limit, "
            "or ask for more --trials or --finalists."
        )
    return tuple(_named(each, data) for each in best.files)


def _search(
    room: Room, workshop: Workshop, teacher_sha256: str, data: TrainingData, config: BudgetConfig
) -> list[dict[str, Any]]:
    assert config.device is not None, "the config asks for it"
    settings = {
        **config.record(),
        "teacher_sha256": teacher_sha256,
        "device_sha256": files.sha256_of(Path(config.device)),
    }
    conditions = json.loads(json.dumps(run_config(data, settings)))
    del conditions["data"]["evaluation_sha256"]  # those photos decide nothing
    search = DesignSearch(
        room,
        workshop.try_out,
        len(data.photos.labels),
        conditions,
        data.folder / f"{data.name}.fit.db",
        epochs=config.epochs,
        seed=config.seed,
    )
    return search.run(config.trials)


@dataclasses.dataclass(frozen=True)
class _Finalist:
    """A student that was trained on all photos and converted.

    Attributes:
        trial: What the search knows of it.
        student: The network.
        converted: The artifacts by target; those whose gate failed are missing.
        report: Of the conversion.
    """

    trial: dict[str, Any]
    student: Artifact
    converted: Mapping[str, Artifact]
    report: Mapping[str, Any]

    @classmethod
    def make(
        cls, trial: dict[str, Any], workshop: Workshop, data: TrainingData, config: BudgetConfig
    ) -> _Finalist:
        """Trains and converts it; what an earlier run made of equal settings is reused."""
        folder = data.folder / f"{data.name}.students"
        student = workshop.finish(StudentDesign(**trial["design"]), folder)
        assert student.path is not None
        photos = _list_photos(data, folder)
        result = convert_all(
            student.path,
            ConversionConfig(
                calibration=photos, evaluation=photos, to=config.to, out=folder, seed=config.seed
            ),
            cache=data.folder / "cache",
        )
        write_pages(result.path, result.report, to_markdown, to_html)
        if result.error is not None:
            log(str(result.error))
        # A fallback may have given another precision than was asked for: that is no result here.
        by_name = {each.path.name: each for each in result.artifacts if each.path is not None}
        names = {target: f"{student.metadata.name}.{target}" for target in config.to}
        converted = {t: by_name[name] for t, name in names.items() if name in by_name}
        return cls(trial, student, converted, result.report)

    @property
    def name(self) -> str:
        """The design's."""
        return str(self.trial["name"])

    @property
    def files(self) -> tuple[Artifact, ...]:
        """All of it."""
        return (self.student, *self.converted.values())


def _list_photos(data: TrainingData, folder: Path) -> Path:
    """A CSV of the photos as they were split, for the conversion."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "split"))
    for photos, split in ((data.photos, "train"), (data.evaluation, "eval")):
        for path, target in zip(photos.paths, photos.targets, strict=True):
            writer.writerow((path.resolve(), photos.labels[target], split))
    path = folder / "photos.csv"
    files.write_text(path, text.getvalue())
    return path


def _measured(
    written: Sequence[_Finalist], table: LatencyTable, config: BudgetConfig
) -> dict[str, dict[str, Cost]]:
    """By finalist and target what each file really costs; nothing where the device is another."""
    if unlike := table.unlike_here():
        log(f"this machine is not the device, so that figures stay predicted: {'; '.join(unlike)}")
        return {}
    timed = {
        (each.name, target): Timed(artifact.path, artifact.format)
        for each in written
        for target, artifact in each.converted.items()
        if artifact.path is not None
    }
    if not timed:
        return {}
    latencies = measure_latencies(
        list(timed.values()), table.device["threads"], rounds=_ROUNDS, seconds=_SECONDS
    )
    found: dict[str, dict[str, Cost]] = {}
    for (name, target), file in timed.items():
        p50_ms = latencies.p50_ms(file)
        if p50_ms is None:
            raise MeasurementError(f"{file} could not be measured: {latencies.errors[file]}")
        memory = measure(
            MemoryJob(
                model=str(file.path.resolve()),
                runtime=DEFAULT_RUNTIME[file.format],
                threads=table.device["threads"],
            )
        )
        found.setdefault(name, {})[target] = Cost(
            latency_ms=p50_ms,
            size_kb=file.path.stat().st_size / 1e3,
            memory_mb=memory.phases["steady"]["pss_bytes"] / 1e6,
        )
    return found


def _costs(finalist: _Finalist, figures: Mapping[str, Mapping[str, Cost]]) -> dict[str, Cost]:
    """What its files cost, measured if possible; nothing of those that no table predicts."""
    measured = figures.get(finalist.name)
    if measured is not None:
        return dict(measured)
    return {
        target: dataclasses.replace(
            Cost(**finalist.trial["predicted"][target]), size_kb=artifact.size_bytes / 1e3
        )
        for target, artifact in finalist.converted.items()
        if not _is_wide(artifact)
    }


def _is_wide(artifact: Artifact) -> bool:
    """Whether int8 took int16 activations, many times as slow and in no device's table."""
    return "int16" in str((artifact.metadata.quantization or {}).get("recipe"))


def _recommended(
    written: Sequence[_Finalist], figures: Mapping[str, Mapping[str, Cost]], budget: Budget
) -> _Finalist | None:
    """The first of those that keep to the budget and passed the gate in every target."""
    for each in written:
        costs = _costs(each, figures)
        if len(costs) == len(each.trial["predicted"]) and all(
            budget.load(cost)[0] <= 1 for cost in costs.values()
        ):
            return each
    return None


def _nearest(
    written: Sequence[_Finalist], figures: Mapping[str, Mapping[str, Cost]], budget: Budget
) -> str:
    """Of the finalists whose files all passed the gate the one least over the budget, in words."""
    loads = [
        (max(budget.load(cost)[0] for cost in costs.values()), each.name, costs)
        for each in written
        if len(costs := _costs(each, figures)) == len(each.trial["predicted"])
    ]
    if not loads:
        return ""
    _, name, costs = min(loads, key=lambda each: each[0])
    return f"The nearest is {name}: {'; '.join(budget.over(costs))}. "


def _named(artifact: Artifact, data: TrainingData) -> Artifact:
    """A file of the recommended student under the data set's name."""
    assert artifact.path is not None
    old = artifact.metadata.name
    metadata = dataclasses.replace(artifact.metadata, name=data.name)
    ending = artifact.path.name.removeprefix(old)
    sealed = seal_artifact(artifact.content, metadata)
    return save_artifact(sealed, data.folder / f"{data.name}{ending}")


def _record(
    room: Room,
    budget: Budget,
    made: Sequence[dict[str, Any]],
    written: Sequence[_Finalist],
    figures: Mapping[str, Mapping[str, Cost]],
    best: _Finalist | None,
    workshop: Workshop,
    data: TrainingData,
    config: BudgetConfig,
    table: LatencyTable,
) -> dict[str, Any]:
    """What is written: schema ``edgeclf.fit/1``."""
    return {
        "schema": SCHEMA,
        "name": data.name,
        "budget": {"limits": budget.limits, "targets": list(config.to), "words": str(budget)},
        "device": {"measured_here": bool(figures), **table.device},
        "designs": {"looked_at": room.looked_at, "within": len(room.within)},
        "recommended": None if best is None else best.name,
        "finalists": [_described(each, figures, budget) for each in written],
        "trials": list(made),
        "photos": {
            "training": len(data.photos),
            "judges": workshop.judges,
            "evaluation": len(data.evaluation),
            "data_sha256": data.photos.sha256,
            "evaluation_sha256": data.evaluation.sha256,
        },
        "settings": config.record(),
        "environment": environment(),
    }


def _described(
    finalist: _Finalist, figures: Mapping[str, Mapping[str, Cost]], budget: Budget
) -> dict[str, Any]:
    accuracy = finalist.student.metadata.accuracy or {}
    costs = _costs(finalist, figures)
    found: dict[str, Any] = {}
    for target, predicted in finalist.trial["predicted"].items():
        artifact = finalist.converted.get(target)
        result = finalist.report["results"][f"{finalist.student.metadata.name}.{target}"]
        cost = costs.get(target)
        found[target] = {
            "passed": artifact is not None,
            "error": result["error"] or (_UNKNOWN if artifact and cost is None else None),
            "accuracy": None if artifact is None else (artifact.metadata.accuracy or {}).get(
                "artifact"
            ),
            "predicted": predicted,
            "cost": None if cost is None else dataclasses.asdict(cost),
            "load": None if cost is None else budget.load(cost)[0],
        }  # fmt: skip
    return {
        "name": finalist.name,
        "design": finalist.trial["design"],
        "parameters": finalist.student.metadata.parameters,
        "multiply_adds": finalist.trial["multiply_adds"],
        "float_accuracy": accuracy.get("source"),
        "targets": found,
    }
