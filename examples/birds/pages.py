"""The page of execution times and the slides, from the record that `measuring.py` made.

No figure in either is typed by hand: `python pages.py measured/report.json` writes both again.
"""

from __future__ import annotations

import json
import string
import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from charts import chart

from edgeclf.reporting.text import DASH, digits, duration, percent, ratio, size
from edgeclf.system import files
from edgeclf.system.words import counted

HERE = Path(__file__).parent
Record = Mapping[str, Any]

STAGES = {  # of the service: what each is called, and its colour
    "queue": ("waits for a worker", "#a56a00"),
    "decode": ("decode", "#1f6f8b"),
    "preprocess": ("resize", "#5aa9c4"),
    "inference": ("engine", "#b5432a"),
    "service": ("HTTP, JSON, monitoring", "#7a7a86"),
    "network": ("client and loopback", "#b9b9c4"),
}
BUSY_SHARE = 0.2  # of the CPUs, used by others: less is what a system does anyway
WAITS = {"p50": ("median", "#1f6f8b"), "p99": ("99 of 100", "#b5432a")}
NOTICE = (
    "Measured with a stand-in: a network of random filters that knows nothing of birds, and whose "
    "answers mean nothing."
)
SHAPE = "Its layers are those of MobileNetV2 at 224 pixels, so times and sizes are of that kind."
QUICK = "A quick run of a small network: it shows that everything runs; take no figure from it."


class Lever(NamedTuple):
    """Two ways of doing one thing, and what they take, in ms a picture.

    Attributes:
        name: What is changed.
        before: Without.
        after: With.
        taken: Whether the service does it already.
        note: What else is to be said.
        cpu: Whether both are CPU time.
    """

    name: str
    before: float
    after: float
    taken: bool
    note: str = ""
    cpu: bool = False


def write(record: Record, out: Path) -> list[Path]:
    """Writes ``report.md``, ``report.svg`` and ``slides.html`` into a folder."""
    pages = {"report.svg": stages_chart(record), "report.md": markdown(record),
             "slides.html": slides(record)}  # fmt: skip
    for name, text in pages.items():
        files.write_text(out / name, text)
    return [out / name for name in pages]


# What the record says.


def whole_ms(record: Record) -> float:
    """The median of one client: from sending a picture to its answer."""
    return float(record["service"]["one_client"]["latency_ms"]["p50"])


def stage_rows(record: Record) -> list[tuple[str, Mapping[str, Any]]]:
    """Of each stage of a picture its name and its percentiles."""
    found = [
        (STAGES[name][0], record["service"]["stages_ms"][name]) for name in [*STAGES][:-1]
    ]  # fmt: skip
    return [*found, ("all of it in the service", record["service"]["stages_ms"]["total"]),
            ("as the client sees it", record["service"]["one_client"]["latency_ms"])]  # fmt: skip


def bottleneck(record: Record) -> str:
    """Which stage takes most, and how much of a picture's time that is."""
    stages = record["service"]["stages_ms"]
    largest = max([*STAGES][:-1], key=lambda name: stages[name]["p50"])
    ms, whole = stages[largest]["p50"], whole_ms(record)
    engine = stages["inference"]["p50"]
    said = (f"The bottleneck is {STAGES[largest][0]}: {duration(ms)} of {duration(whole)}, "
            f"{percent(ms / whole)} of what one client waits.")  # fmt: skip
    if largest != "inference":
        said += (f" The engine takes {duration(engine)} ({percent(engine / whole)}): one that took "
                 f"no time at all would make a picture {ratio(whole / (whole - engine))} as fast."
                 )  # fmt: skip
    return said


def under_load(record: Record) -> str:
    """What waiting comes to at the rate that was looked at."""
    service = record["service"]
    waits = service["at_rate_stages_ms"]["queue"]
    often, name = ("one of ten", "p90") if waits["p90"] is not None else ("one of two", "p50")
    return (f"At {digits(service['rate_per_s'])} pictures a second, 70 % of what one worker could "
            f"answer if it did nothing but decode, resize and infer, {often} pictures waited "
            f"longer than {duration(waits[name])} for the worker.")  # fmt: skip


def levers(record: Record) -> Iterator[Lever]:
    """What was measured in two ways."""
    given, decoding = record["as_given"]["stages_ms"], record["decoding"]
    rows = {(row["precision"], row["format"], row["threads"], row["batch"]): row["ms"]
            for row in record["engines"]}  # fmt: skip
    shaky = {row["ms"] for row in record["engines"] if not row["stable"]}

    def held(*times: float) -> str:
        return "unstable, medians differ by over 10 %" if {*times} & shaky else ""

    yield Lever("decode JPEGs at the scale that is needed", decoding["full"]["p50"],
                decoding["scaled"]["p50"], True, cpu=True)  # fmt: skip
    yield Lever("clients send smaller pictures", decoding["scaled"]["p50"],
                decoding["shrunk"]["p50"], False,
                f"{size(decoding['shrunk_bytes'])} instead of "
                f"{size(record['pictures']['mean_bytes'])} on the way, too", True)  # fmt: skip
    base = rows.get(("int8", "tflite", 1, 1))
    plain = rows.get(("fp32", "tflite", 1, 1))
    if plain is not None:
        yield Lever("LiteRT instead of TensorFlow, fp32", given["inference"]["p50"], plain, True,
                    "TensorFlow on all CPUs, LiteRT on one")  # fmt: skip
    if base is None:
        return
    if plain is not None:
        yield Lever("int8 instead of fp32, LiteRT", plain, base, True, held(plain, base))
    others = {
        "ONNX Runtime instead of LiteRT, int8": ("int8", "onnx", 1, 1),
        "batches of 8, of each picture": ("int8", "tflite", 1, 8),
    }
    for name, key in others.items():
        if key in rows:
            yield Lever(name, base, rows[key], False, held(base, rows[key]))
    for (precision, format_, threads, batch), ms in rows.items():
        if (precision, format_, batch) == ("int8", "tflite", 1) and threads > 1:
            yield Lever(f"{threads} threads instead of 1", base, ms, False, held(base, ms))


def cost_ms(record: Record) -> float:
    """CPU time that a picture costs the whole server, HTTP and monitoring with it."""
    step = record["service"]["one_client"]
    return float(step["server"]["cpu_ms_per_request"] if step["server"] else whole_ms(record))


def capacity(record: Record) -> str:
    """What a picture costs, and what that makes of a CPU."""
    cost, before = cost_ms(record), record["as_given"]["cpu_ms"]
    return (f"A picture costs the service {duration(cost)} of CPU time, all of it counted, and the "
            f"script {duration(before)}, {ratio(before / cost)} as much. So a CPU answers at most "
            f"{digits(1e3 / cost)} pictures a second.")  # fmt: skip


def lever_rows(record: Record) -> list[tuple[str, str, str, str, str, str]]:
    """As words: name, before, after, ratio, share of a picture, and whether it is taken."""
    wholes = {True: cost_ms(record), False: whole_ms(record)}
    return [
        (lever.name, duration(lever.before), duration(lever.after),
         ratio(lever.before / lever.after),
         percent((lever.before - lever.after) / wholes[lever.cpu]),
         ("taken" if lever.taken else "open") + (f"; {lever.note}" if lever.note else ""))
        for lever in levers(record)
    ]  # fmt: skip


def worker_rows(record: Record) -> list[tuple[str, str, str, str]]:
    """One worker and two: pictures a second of clients that wait, and latency at the same rate."""
    service = record["service"]
    found = []
    for words, clients, rate in (("1 worker", "clients", "at_rate"),
                                 ("2 workers", "two_workers_clients", "two_workers")):  # fmt: skip
        if rate in service:
            times = service[rate]["latency_ms"]
            found.append((words, digits(service[clients]["per_s"]), duration(times["p50"]),
                          duration(times["p99"])))  # fmt: skip
    return found


def replica_rows(record: Record) -> list[tuple[str, str, str]]:
    return [(str(row["replicas"]), duration(row["p50_ms"]), duration(row["p99_ms"]))
            for row in record["replicas"]]  # fmt: skip


def conditions(record: Record) -> str:
    machine, images = record["environment"], record["pictures"]
    libraries = machine["libraries"]
    names = ("edgeclf", "ai-edge-litert", "onnxruntime", "tensorflow", "pillow")
    said = ", ".join(f"{name} {libraries[name]}" for name in names if name in libraries)
    width, height = images["first_pixels"]
    kind = "drawn pictures" if record["drawn"] else "pictures"
    return (
        f"{machine['cpu']}, {machine['cpus_available']} CPUs, {machine['system']}, Python "
        f"{machine['python']}, {said}; {machine['date']}. {images['count']} {kind}, the first of "
        f"{width}x{height} pixels, {size(images['mean_bytes'])} on average; {record['file']}, "
        f"{size(record['size_bytes'])}, SHA-256 {record['sha256'][:12]}."
    )


# The page.


def markdown(record: Record) -> str:
    given = record["as_given"]
    whole = whole_ms(record)
    fetched = record["fetched"]
    parts = ["# Execution times of the bird service", ""]
    parts += [f"> {note}\n" for note in notes(record)]
    parts += [
        bottleneck(record), "",
        "![Where the time of a picture goes](report.svg)", "",
        "## Where the time of a picture goes", "",
        "One client that waits for each answer, one worker, one thread.", "",
        *_table(("stage", "n", "p50, ms", "p90, ms", "p99, ms"), [
            (name, str(row["n"]), digits(row["p50"]), _ms(row["p90"]), _ms(row["p99"]))
            for name, row in stage_rows(record)
        ]), "",
        f"A percentile that the sample cannot carry is {DASH}.",
        "Fetching a picture from its address: "
        + (f"{duration(fetched['p50'])} at the median of {fetched['n']}." if fetched else
           "not measured, as no picture was fetched; `birds.py fetch --pictures` measures it."),
        "", "## Before", "",
        "The SavedModel as scripts use it: decoded in full, sampled as OpenCV does by default, one "
        "call of TensorFlow a picture. Before its first answer it needs "
        f"{duration(given['start_ms'])} to import TensorFlow and load the model, and "
        f"{duration(given['first_ms'])} for that answer.", "",
        *_table(("stage", "n", "p50, ms", "p90, ms", "p99, ms"), [
            (name, str(row["n"]), digits(row["p50"]), _ms(row["p90"]), _ms(row["p99"]))
            for name, row in given["stages_ms"].items()
        ]), "",
        f"A picture takes {ratio(given['stages_ms']['total']['p50'] / whole)} as long there as "
        f"from the service, whose time has HTTP in it. {capacity(record)}", "",
        "## What would move it", "",
        "Medians of one picture: of the decoding in turns and in CPU time, of the engines by "
        "`edgeclf benchmark --quick`, on random pixels. The share is that of the CPU time that a "
        "picture costs the service, or of what one client waits.", "",
        *_table(("change", "before", "after", "ratio", "share of a picture", "in the service"),
                lever_rows(record)), "",
        under_load(record), "",
        *_table(("", f"answers/s, {record['service']['clients']['count']} clients",
                 f"p50 at {digits(record['service']['rate_per_s'])}/s", "p99"),
                worker_rows(record)), "",
        "Both workers share this machine's CPUs with the clients that ask. What replicas on CPUs "
        "of their own come to at that rate is computed, not measured: M/G/c by the service times "
        "above, without HTTP.", "",
        *_table(("replicas", "p50", "p99"), replica_rows(record)), "",
        "## Conditions", "", conditions(record), "",
    ]  # fmt: skip
    return "\n".join(parts)


def notes(record: Record) -> list[str]:
    """What a reader has to know before any figure."""
    said = [NOTICE] if record["stand_in"] else []
    said += [QUICK] if record["quick"] else [SHAPE] if record["stand_in"] else []
    others, cpus = others_cpus(record), record["environment"]["cpus_available"]
    busy = (
        f"Other processes kept {digits(others)} of {counted(cpus, 'CPU')} busy meanwhile: all "
        "latencies here are too long, by several times; the CPU times hold. Measure again on a "
        "machine that does nothing else."
        if others > BUSY_SHARE * cpus
        else ""
    )
    return [part for part in (" ".join(said), busy) if part]


def others_cpus(record: Record) -> float:
    """The most CPUs that neither the service nor the client had while one was measured."""
    steps = [step for step in record["service"].values() if isinstance(step, dict)]
    return max(
        [0.0, *(
            step["machine_cpus_busy"] - step["server"]["cpus_used"] - step["generator_cpus"]
            for step in steps
            if step.get("server") and step.get("machine_cpus_busy") is not None
        )]
    )  # fmt: skip


def _ms(value: float | None) -> str:
    return DASH if value is None else digits(value)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return [f"| {' | '.join(row)} |" for row in (heads, rule, *rows)]


# The pictures.


def stages_chart(record: Record) -> str:
    """A bar for the script, and one for the service: medians of the stages."""
    given = record["as_given"]["stages_ms"]
    service, means = record["service"]["stages_ms"], record["service"]["one_client"]["means_ms"]
    last = {"network": means["network"] + means["client"]} if means else {}
    return chart(
        {
            "as scripts do it": {n: given[n]["p50"] for n in ("decode", "preprocess", "inference")},
            "the service": {**{name: service[name]["p50"] for name in [*STAGES][:-1]}, **last},
        },
        STAGES,
        stacked=True,
    )


def waits_chart(record: Record) -> str:
    """Latency at one rate: measured with one and two workers, computed for replicas."""
    service = record["service"]
    rows = {
        f"{name}, measured": service[key]["latency_ms"]
        for name, key in (("1 worker", "at_rate"), ("2 workers", "two_workers"))
        if key in service
    }
    for row in record["replicas"]:
        label = f"{counted(row['replicas'], 'replica')}, computed"
        rows[label] = {name: row[f"{name}_ms"] for name in WAITS}
    return chart(rows, WAITS, stacked=False, width=480)


# The slides.


def slides(record: Record) -> str:
    """One HTML file that loads nothing; `slides.template.html` with figures in its places."""
    template = string.Template((HERE / "slides.template.html").read_text(encoding="utf-8"))
    given, service = record["as_given"], record["service"]
    total = given["stages_ms"]["total"]["p50"]
    return template.substitute(
        notes=" ".join(map(escape, notes(record))),
        conditions=escape(conditions(record)),
        classes=record["classes"],
        bottleneck=escape(bottleneck(record)),
        under_load=escape(under_load(record)),
        capacity=escape(capacity(record)),
        whole=duration(whole_ms(record)),
        before=duration(total),
        faster=ratio(total / whole_ms(record)),
        start=duration(given["start_ms"]),
        rate=digits(service["rate_per_s"]),
        file=escape(record["file"]),
        size=size(record["size_bytes"]),
        architecture=(HERE / "architecture.svg").read_text(encoding="utf-8"),
        stages_chart=stages_chart(record),
        waits_chart=waits_chart(record),
        stages=_html(("stage", "p50, ms", "p90, ms", "p99, ms"), [
            (name, digits(row["p50"]), _ms(row["p90"]), _ms(row["p99"]))
            for name, row in stage_rows(record)
        ]),
        levers=_html(("change", "before", "after", "ratio", "share of a picture", ""),
                     lever_rows(record)),
        workers=_html(("", f"answers/s, {service['clients']['count']} clients",
                       f"p50 at {digits(service['rate_per_s'])}/s", "p99"), worker_rows(record)),
        record=json.dumps(record).replace("<", "\\u003c"),
    )  # fmt: skip


def _html(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [("th", heads), *(("td", row) for row in rows)]
    return "<table>" + "".join(
        "<tr>" + "".join(f"<{cell}>{escape(word)}</{cell}>" for word in row) + "</tr>"
        for cell, row in lines
    ) + "</table>"  # fmt: skip


def main() -> None:
    (source,) = map(Path, sys.argv[1:])
    for path in write(json.loads(source.read_text(encoding="utf-8")), source.parent):
        print(path)


if __name__ == "__main__":
    main()
