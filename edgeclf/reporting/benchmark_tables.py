"""The tables of a benchmark's report, for Markdown and page alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeclf.measurement.matrix.schema import (
    METRICS,
    Row,
    is_unstable,
    row_name,
    row_threads,
    steady_pss_bytes,
    total,
)
from edgeclf.reporting import text
from edgeclf.reporting.devices import Device, SameFile, same_files
from edgeclf.reporting.summary import FigurePair, Summary
from edgeclf.reporting.tables import Cell, Table, make_table

Results = Mapping[str, Any]

_STAGES = ("decode", "preprocess", "inference", "total")
_WAY = ("File", "Runtime", "Threads", "Batch")  # what tells the rows of a table apart
_DASH_NOTE = f"{text.DASH}: the sample is too small to carry this percentile."


def marks(row: Row) -> str:
    """What a reader must know before relying on a row; a dash if nothing."""
    if row["error"]:
        return "failed"
    remarks = ["unstable"] * is_unstable(row) + ["throttled"] * bool(row["throttled"])
    return ", ".join(remarks) or text.DASH


def ratio_table(summary: Summary) -> list[Table]:
    """The teacher's figures over the student's, both below."""
    comparisons = [*([summary.headline] if summary.headline else []), *summary.like_with_like]
    if not comparisons:
        return []
    distilled = summary.teacher != summary.student
    sides = (
        (summary.teacher, summary.student)
        if distilled
        else ("the Keras source", "the converted file")
    )
    return make_table(
        "Teacher and student" if distilled else "Source and conversion",
        f"How many times the figure of {sides[0]} is that of {sides[1]}: above 1, the latter is "
        "smaller or faster. Latency is the median, memory the process's PSS in steady state. The "
        "first row takes each file the way it runs fastest, one photo at a time.",
        ("Compared", "Parameters", "File size", "Latency p50", "Memory", "Top-1, points"),
        [
            (
                Cell(each.title, f"{each.teacher_file} → {each.student_file}"),
                _ratio(each.parameters, text.count),
                _ratio(each.size_bytes, text.size),
                _ratio(each.total_p50_ms, text.duration),
                _ratio(each.steady_pss_bytes, text.size),
                Cell(
                    text.points(each.top1.change_points),
                    f"{text.percent(each.top1.teacher)} → {text.percent(each.top1.student)}",
                ) if each.top1 else text.DASH,
            )
            for each in comparisons
        ],
        1,
    )  # fmt: skip


def _ratio(ratio: FigurePair | None, write: Callable[[float], str]) -> Cell:
    if ratio is None:
        return Cell(text.DASH)
    return Cell(text.ratio(ratio.ratio), f"{write(ratio.teacher)} → {write(ratio.student)}")


def result_table(results: Results, summary: Summary) -> list[Table]:
    """One line per row: what it costs, and how often it is right."""
    rows, chosen = results["rows"], summary.recommendation.chosen
    short = any((total(row) or {"p90": 0})["p90"] is None for row in rows)
    return make_table(
        "Results",
        "Top-1 with its 95 % interval (Wilson); agreement with the top-1 of the Keras model that "
        f"a file was converted from; latency {text.latency_of(results)}; memory is PSS in steady "
        "state; cold start is from the start of the process to its first answer.",
        (*_WAY, "Mark", "Top-1", "Agreement", "Size", "p50, ms", "p90, ms", "Images/s", "Memory",
         "Cold start", "Energy"),
        [_result_cells(row, _way(row, rows), row["id"] == chosen) for row in rows],
        5,
        [_DASH_NOTE] * short + [
            f"{row_name(row)} failed: {' '.join(row['error'].split())}"
            for row in rows if row["error"]
        ],
    )  # fmt: skip


def _result_cells(row: Row, way: Sequence[str], chosen: bool) -> Sequence[str | Cell]:
    accuracy, percentiles, steady = row["accuracy"], total(row), steady_pss_bytes(row)
    throughput, energy = row["throughput"], row["energy"]
    mark = marks(row)
    return (
        *way,
        Cell(mark, failed=True) if mark != text.DASH else "recommended" if chosen else mark,
        Cell(text.percent(accuracy["top1"]), text.interval(accuracy["top1_interval_95"]))
        if accuracy else text.DASH,
        text.agreement(row) if accuracy else text.DASH,
        text.size(row["size_bytes"]),
        text.milliseconds(percentiles["p50"]) if percentiles else text.DASH,
        text.milliseconds(percentiles["p90"]) if percentiles else text.DASH,
        text.digits(throughput["images_per_s"]) if throughput else text.DASH,
        text.DASH if steady is None else text.size(steady),
        _cold_start(row),
        f"{text.digits(energy['joules_per_image'] * 1e3)} mJ" if energy else text.DASH,
    )  # fmt: skip


def _cold_start(row: Row) -> Cell:
    start = row["cold_start"]
    if start is None:
        return Cell(text.DASH)
    dropped = start["dropped_ms"]
    return Cell(
        text.duration(start["warm_ms"]),
        f"{text.duration(dropped)} from disk" if dropped is not None else "",
    )


def candidate_table(results: Results, summary: Summary) -> list[Table]:
    """Why each row but the recommended one lost."""
    rejected, rows = summary.recommendation.rejected, results["rows"]
    return make_table(
        "Why not another",
        "What kept each other row from being recommended.",
        (*_WAY, "Reason"),
        [(*_way(row, rows), rejected[row["id"]]) for row in rows if row["id"] in rejected],
        5,
    )


def latency_table(results: Results) -> list[Table]:
    """Percentiles by stage."""
    rows = results["rows"]
    measured = [row for row in rows if row["latency"]]
    stages = [s for s in _STAGES if any(s in row["latency"]["stages_ms"] for row in measured)]
    shown = [
        (s, p) for s in stages for p in (("p50", "p90", "p99") if s == "total" else ("p50", "p90"))
    ]
    lines = []
    for row in measured:
        latency = row["latency"]
        windows = latency["windows_p50_ms"]
        figures = (latency["stages_ms"].get(stage, {}).get(p) for stage, p in shown)
        lines.append((
            *_way(row, rows),
            f"{latency['stages_ms']['total']['n']:,}",
            *map(text.milliseconds, figures),
            f"{text.digits(min(windows))}–{text.digits(max(windows))}" if windows else text.DASH,
        ))  # fmt: skip
    return make_table(
        "Latency by stage",
        f"Milliseconds {text.latency_of(results)}; n samples after warm-up. The total is measured "
        "as a whole: its median is not the sum of the stages' medians. Windows are the lowest and "
        "highest median of consecutive parts of the run, by which a row is called stable.",
        (*_WAY, "n", *(f"{stage} {percentile}" for stage, percentile in shown), "Windows"),
        lines,
        4,
        (_DASH_NOTE,) if any(text.DASH in line for line in lines) else (),
    )


def open_loop_table(results: Results) -> list[Table]:
    """What calls that arrive at random, an open-loop load, had to wait, where that was measured."""
    rows = results["rows"]
    lines = []
    for row in rows:
        if stream := row.get("open_loop"):
            latency = stream["latency_ms"] or {}
            lines.append(
                (
                    *_way(row, rows),
                    text.digits(stream["rate_per_s"]),
                    f"{stream['served']:,} of {stream['sent']:,}",
                    *(text.milliseconds(latency.get(p)) for p in ("p50", "p90", "p99")),
                    text.percent(stream["busy"]),
                    text.milliseconds(stream.get("cpu_ms")),
                )
            )
    return make_table(
        "Open-loop load",
        "Calls arrive at random, whether or not the one before is answered. Milliseconds from the "
        "moment when a call was to be sent to its answer, with the time it waited for others; none "
        "where not all calls were served in twice the time. Busy is the share of the time in which "
        "a call was being answered; CPU is the process's CPU time for each call, also between "
        "calls.",
        (*_WAY, "Calls/s", "Served", "p50", "p90", "p99", "Busy", "CPU"),
        lines,
        4,
    )


def memory_table(results: Results) -> list[Table]:
    """PSS by phase, the peak, and what the GPU holds."""
    rows = results["rows"]
    measured = [row for row in rows if row["memory"]]
    phases = list(measured[0]["memory"]["phases"]) if measured else []
    return make_table(
        "Memory by phase",
        "PSS of a fresh process at the end of each phase, in a run apart from the timing; peak "
        "RSS of the whole run. USS and RSS by phase are in the JSON and the CSV.",
        (*_WAY, *phases, "peak RSS", "GPU"),
        [
            (
                *_way(row, rows),
                *(text.size(row["memory"]["phases"][phase]["pss_bytes"]) for phase in phases),
                text.size(row["memory"]["peak_rss_bytes"]),
                _or_dash(row["memory"]["gpu_bytes"], text.size),
            )
            for row in measured
        ],
        4,
    )


def state_table(results: Results) -> list[Table]:
    """The machine's state around each row."""
    rows = results["rows"]
    names = ("frequency_mhz", "governor", "temperature_c", "load")
    lines = [
        (*_way(row, rows), *(_before_after(row["state"], name) for name in names))
        for row in rows if row["state"]
    ]  # fmt: skip
    return make_table(
        "State of the machine",
        "Before and after each row, as far as the system tells.",
        (*_WAY, "Frequency, MHz", "Governor", "Temperature, °C", "Load"),
        lines,
        4,
    )


def _before_after(state: Mapping[str, Any], name: str) -> str:
    before, after = (_reading(state[when].get(name)) for when in ("before", "after"))
    return before if before == after else f"{before} → {after}"


def _reading(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_reading, value))
    if isinstance(value, int | float):
        return text.digits(value)
    return text.DASH if value is None else str(value)


def artifact_table(results: Results) -> list[Table]:
    """What ran: the bytes, and the library that computed them."""
    rows = {}
    for row in results["rows"]:
        key = (row["file"], row["sha256"], row["runtime"]["name"])
        if key not in rows or "library" in row["runtime"]:
            rows[key] = row
    return make_table(
        "Artifacts",
        "",
        ("File", "Runtime", "Library", "Parameters", "Input", "Bytes", "SHA-256"),
        [
            (
                row["file"],
                row["runtime"]["name"],
                Cell(
                    f"{row['runtime']['library']} {row['runtime']['library_version']}",
                    text.runtime_place(row["runtime"]),
                ) if "library" in row["runtime"] else text.DASH,
                text.count(row["parameters"]),
                f"{row['input_size'][1]}×{row['input_size'][0]}",
                f"{row['size_bytes']:,}",
                row["sha256"],
            )
            for row in rows.values()
        ],
        7,
    )  # fmt: skip


def device_tables(devices: Sequence[Device], summaries: Sequence[Summary]) -> list[Table]:
    """What is recommended on each device, and the same file across them."""
    same = same_files(devices)
    return [
        *make_table(
            "Recommended on each device",
            "Latency is the median; memory is PSS in steady state.",
            ("Device", "File", "Runtime", "Threads", "Latency", "Memory", "Size", "Top-1"),
            [_recommended(d, s) for d, s in zip(devices, summaries, strict=True)],
            4,
        ),
        *_across("Latency of the same file across devices", "Median latency; below, how many "
                 "times that of the first device.", devices, same, "p50_ms", text.duration),
        *_across("Memory of the same file across devices", "PSS in steady state; below, how "
                 "many times that of the first device.", devices, same, "memory_mb",
                 lambda mb: text.size(mb * 1e6)),
        *_across("Top-1 of the same file across devices", "Below, the difference from the "
                 "first device in points.", devices, same, "top1", text.percent),
    ]  # fmt: skip


def _recommended(device: Device, summary: Summary) -> Sequence[str | Cell]:
    chosen = summary.recommendation.chosen
    row = next((row for row in device.results["rows"] if row["id"] == chosen), None)
    if row is None:
        return (device.name, "nothing", *[text.DASH] * 6)
    return (
        device.name,
        row["file"],
        row["runtime"]["name"],
        _or_dash(row_threads(row), str),
        _or_dash(METRICS["p50_ms"](row), text.duration),
        _or_dash(steady_pss_bytes(row), text.size),
        text.size(row["size_bytes"]),
        _or_dash(METRICS["top1"](row), text.percent),
    )


def _across(
    title: str,
    caption: str,
    devices: Sequence[Device],
    same: Sequence[SameFile],
    metric: str,
    write: Callable[[float], str],
) -> list[Table]:
    rows = [one.row for one in same]
    figures = [[METRICS[metric](row) if row else None for row in one.of_devices] for one in same]

    def cell(figure: float | None, first: float | None) -> Cell:
        if figure is None:
            return Cell(text.DASH)
        if not first:
            return Cell(write(figure))
        change = text.points((figure - first) * 100) if metric == "top1" else None
        return Cell(write(figure), change or text.ratio(figure / first))

    lines: list[Sequence[str | Cell]] = [
        (*_way(one.row, rows), cell(of[0], None), *(cell(figure, of[0]) for figure in of[1:]))
        for one, of in zip(same, figures, strict=True)
        if any(figure is not None for figure in of)
    ]
    return make_table(title, caption, (*_WAY, *(device.name for device in devices)), lines, 4)


def _way(row: Row, rows: Sequence[Row]) -> tuple[str, str, str, str]:
    """File, runtime, threads and batch; the batch only where it is not 1 for all rows."""
    runtime = row["runtime"]["name"]
    if row["input"] == "random" and any(other["input"] != "random" for other in rows):
        runtime += ", random input"
    batched = any(other["batch"] != 1 for other in rows)
    return (
        row["file"],
        runtime,
        _or_dash(row_threads(row), str),
        str(row["batch"]) if batched else text.DASH,
    )


def _or_dash(value: Any, write: Callable[[Any], str]) -> str:
    return text.DASH if value is None else write(value)
