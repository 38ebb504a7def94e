"""What the benchmarks' own page shows of their results: the peers, and how things grow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from edgeclf.reporting import text
from edgeclf.reporting.markdown import markdown_table, safe_text

SIZES = ("640x480", "12 megapixels")
COLUMNS = ("Peer", "640x480 (ms)", "", "12 MP (ms)", "", "Cold start (ms)", "", "Memory", "Peak",
           "Installed", "Same answers")  # fmt: skip
# Why a peer is ahead, by peer and figure; found out by hand.
_BARE = ("LiteRT, Pillow", "LiteRT, Pillow's scaled decode", "ONNX Runtime, Pillow")
_OF_THE_BARE = {
    "cold start": "the bare engine is what edgeclf starts too; edgeclf's own modules, with "
    "dataclasses, pathlib, json and OpenSSL's SHA-256 for the seal, are imported as well",
    "memory": "the same engine without edgeclf's modules, 3 to 5 MB",
    "peak memory": "the same engine without edgeclf's modules, 3 MB, and without OpenSSL's "
    "library, which resident memory counts in full",
    "installed size": "the same packages without edgeclf",
}
CAUSES = {f"{peer}: {figure}": why for peer in _BARE for figure, why in _OF_THE_BARE.items()}
# What classify does beyond the engine is measured by call_overhead.py.
CAUSES["LiteRT, Pillow's scaled decode: 640x480"] = (
    "edgeclf looks at format, size and orientation before it decodes, and answers with labels and "
    "timings; the part after decoding takes 0.04 ms"
)
CAUSES["ONNX Runtime, Pillow: memory"] = (
    "the same engine without edgeclf's modules, 3 MB, and without the bytes of the file: given "
    "them instead of a path, ONNX Runtime's session keeps them beside its own copy (13.6 MB of "
    "mugs-teacher.fp32.onnx, measured by letting go of them)"
)
UNKNOWN = "cause not found out"
DATA_SETS = {
    "mugs": "mugs, near their corners",
    "scenes": "drawn scenes, near two kinds never taught",
    "digits": "handwritten digits, near 8 and 9, never taught",
    "photos": "crops of package photos, near other photos, far the mugs",
}
ERRORS = ("error before", "error after")
SHARES = ("false unknowns", "recall far", "recall near")
AUROCS = ("AUROC far", "AUROC near")


def peers(folder: Path) -> str:
    """A table for each model and precision, what failed, and where a peer is ahead."""
    parts = []
    for document in _documents(folder, "peers"):
        installed = document["installed"]
        for (model, precision), group in groupby(
            document["rows"], lambda row: (row["model"], row["precision"])
        ):
            rows = list(group)
            lines = [_cells(row, installed) for row in rows if not row["error"]]
            parts += [f"### {model}, {precision}", markdown_table(COLUMNS, lines, 1)]
            failed = [f"- {row['peer']} with {row['file']}: {safe_text(row['error'])}"
                      for row in rows if row["error"]]  # fmt: skip
            parts += ["Not measured:\n\n" + "\n".join(failed)] * bool(failed)
        ahead = list(_ahead(document["rows"], installed))
        parts += [
            "### Where a peer is ahead",
            "\n".join(ahead) or "Nowhere in these tables.",
            _where(document),
        ]
    return "\n\n".join(parts)


def scaling(folder: Path) -> str:
    """The plots, and what the far end costs beside the beginning."""
    what = "Latency and memory against input size, batch, threads and classes"
    parts = [
        f"![{what}]({folder.name}/{path.name})" for path in sorted(folder.glob("scaling.*.svg"))
    ]
    for document in _documents(folder, "scaling"):
        lines = [
            (figure["what"], text.ratio(figure["value"]), figure["note"])
            for figure in document["figures"]
        ]
        parts += [markdown_table(("What", "Ratio", "Of"), lines, 1), _where(document)]
        parts += [f"- {safe_text(f'{what}: {reason}')}"
                  for what, reason in document["errors"].items()]  # fmt: skip
    return "\n\n".join(parts)


def precisions(folder: Path) -> str:
    """Size, time and answers of each precision of a model."""
    parts = []
    for document in _documents(folder, "precisions"):
        lines = [
            (
                row["file"],
                text.size(row["size_bytes"]),
                text.milliseconds(row["p50_ms"]),
                text.ratio(row["ratio"]),
                text.percent(row["top1_agreement"]),
                text.digits(row["max_change"]),
                text.DASH if row["parts"] is None else str(row["parts"]),
            )
            for row in document["rows"]
        ]
        columns = (
            "File",
            "Size",
            "ms",
            "of fp32",
            "Same answer",
            "Largest change",
            "XNNPACK parts",
        )
        parts += [markdown_table(columns, lines, 1), _where(document)]
    return "\n\n".join(parts)


def servers(folder: Path) -> str:
    """What each server adds to a picture: a row a server."""
    parts = []
    columns = ("Server", "CPU a request", "Above the work", "Over Starlette", "p50", "Memory",
               "Processes", "Start")  # fmt: skip
    for document in _documents(folder, "serving_overhead"):
        versions = document["versions"]
        lines = [
            (
                f"{row['server']} {versions.get(row['environment']) or ''}".strip(),
                f"{text.digits(row['cpu_ms'])} ms",
                f"{text.digits(row['above_ms'])} ms",
                text.ratio(row["of_bare"]),
                f"{text.digits(row['latency_p50_ms'])} ms",
                text.size(row["pss_bytes"]),
                str(row["processes"]),
                f"{text.digits(row['start_s'])} s",
            )
            for row in sorted(document["rows"], key=lambda row: row["above_ms"])
        ]
        parts += [markdown_table(columns, lines, 1), _where(document)]
        parts += [f"- {safe_text(f'{name}: {reason}')}"
                  for name, reason in document["failed"].items()]  # fmt: skip
    return "\n\n".join(parts)


def idle_threads(folder: Path) -> str:
    """What each way of waiting costs: a row a way, a column a figure."""
    parts = []
    for document in _documents(folder, "idle_threads"):
        cells: dict[str, dict[str, str]] = {}
        for figure in document["figures"]:
            way, what = figure["what"].split(": ")
            cells.setdefault(way, {})[f"{what} ({figure['unit']})"] = text.digits(figure["value"])
        columns = ("Threads and memory", *next(iter(cells.values())))
        lines = [(way, *of.values()) for way, of in cells.items()]
        parts += [markdown_table(columns, lines, 1), _where(document)]
    return "\n\n".join(parts)


def beyond(folder: Path) -> str:
    """How calibration held on other data: the int8 TFLite files, then the others in short."""
    parts = []
    for document in _documents(folder, "trust_beyond"):
        rows = sorted(document["rows"], key=lambda row: list(DATA_SETS).index(row["data"]))
        lines = [
            (
                f"{DATA_SETS[row['data']]}; {row['model']}",
                row["unknown"],
                text.percent(row["top-1"]),
                *(_spread(row[name]) for name in ERRORS),
                *(_share(row[name]) for name in SHARES),
                *(_spread(row[name]) for name in AUROCS),
                f"{_share(row['held'])}, {row['size'][0]:.2f}",
            )
            for row in rows if row["file"] == "int8.tflite"
        ]  # fmt: skip
        columns = ("Data; network", "Unknown", "Top-1", "Calibration error before", "After",
                   "False unknowns", "Far recognised", "Near recognised", "AUROC far",
                   "AUROC near", "Sets of 90 % held, labels")  # fmt: skip
        parts += [markdown_table(columns, lines, 2)]
        lines = [
            (
                f"{row['data']}, {row['model']}",
                row["file"],
                text.percent(row["top-1"]),
                _spread(row["error after"]),
                *(_share(row[name]) for name in SHARES),
                f"{row['AUROC far'][0]:.3f}, {row['AUROC near'][0]:.3f}",
                _share(row["held"]),
            )
            for row in rows if row["file"] != "int8.tflite"
        ]  # fmt: skip
        columns = ("Data, network", "File", "Top-1", "Calibration error after", "False unknowns",
                   "Far recognised", "Near recognised", "AUROC far, near",
                   "Sets of 90 % held")  # fmt: skip
        parts += ["The other files of the same networks:", markdown_table(columns, lines, 2)]
        parts += [_where(document)]
    return "\n\n".join(parts)


def _spread(figures: Sequence[float]) -> str:
    """A mean, and 5 to 95 % where these differ from it in what is shown."""
    mean, low, high = (f"{figure:.3f}" for figure in figures)
    return mean if low == high == mean else f"{mean} ({low} to {high})"


def _share(figures: Sequence[float]) -> str:
    """The same of shares, in per cent."""
    mean, low, high = (f"{100 * figure:.1f}".removesuffix(".0") for figure in figures)
    return f"{mean} %" if low == high == mean else f"{mean} % ({low} to {high})"


def _documents(folder: Path, script: str) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob(f"{script}.*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def _cells(row: Mapping[str, Any], installed: Mapping[str, Any]) -> Sequence[str]:
    times = [*(row["latency"][size] for size in SIZES), row["cold_start"]]
    alike = [text.percent(share) for share in row["alike"].values() if share is not None]
    environment = installed.get(row["environment"])
    return (
        row["peer"],
        *(cell for t in times for cell in (text.milliseconds(t["p50_ms"]), _ratio(row, t))),
        text.size(row["memory"][SIZES[0]]["steady_pss_bytes"]),
        text.size(row["memory"][SIZES[1]]["peak_rss_bytes"]),
        text.size(environment["size_bytes"]) if environment else "unknown",
        " ".join(dict.fromkeys(alike)) or (text.DASH if row["against"] else "reference"),
    )  # fmt: skip


def _ratio(row: Mapping[str, Any], time: Mapping[str, Any]) -> str:
    if row["against"] is None:
        return ""
    if time["ratio"] is None:  # without a reference there is nothing to be void
        return text.DASH if None in row["alike"].values() else "void"
    value, low, high = time["ratio"]
    return f"{text.ratio(value)} [{text.digits(low)}–{text.digits(high)}]"


def _ahead(rows: Sequence[Mapping[str, Any]], installed: Mapping[str, Any]) -> Iterator[str]:
    """A line for each figure in which a peer is better than edgeclf with the same file."""
    by_key = {(row["file"].partition(".")[0], row["precision"], row["peer"]): row
              for row in rows if not row["error"]}  # fmt: skip
    found: dict[str, list[str]] = {}
    for (model, precision, peer), row in by_key.items():
        base = by_key.get((model, precision, row["against"]))
        if base is None:
            continue
        where = f"{model} {precision}"
        times = {size: row["latency"][size] for size in SIZES} | {"cold start": row["cold_start"]}
        for figure, time in times.items():
            if time["ratio"] and time["ratio"][2] < 1:
                found.setdefault(f"{peer}: {figure}", []).append(f"{where} {_ratio(row, time)}")
        for figure, size, key in (
            ("memory", SIZES[0], "steady_pss_bytes"),
            ("peak memory", SIZES[1], "peak_rss_bytes"),
        ):
            own, ours = row["memory"][size][key], base["memory"][size][key]
            if own < ours:
                found.setdefault(f"{peer}: {figure}", []).append(
                    f"{where} {text.size(own)} against {text.size(ours)}"
                )
        sizes = [installed.get(each["environment"], {}).get("size_bytes") for each in (row, base)]
        if None not in sizes and sizes[0] < sizes[1]:
            found[f"{peer}: installed size"] = [" against ".join(map(text.size, sizes))]
    for what, places in found.items():
        yield f"- {what} ({'; '.join(places)}): {CAUSES.get(what, UNKNOWN)}."


def _where(document: Mapping[str, Any]) -> str:
    found = document["environment"]
    libraries = dict(found["libraries"])
    for environment in document.get("installed", {}).values():
        engines = ("ai-edge-litert", "onnxruntime", "mediapipe", "openvino", "openvino-model-api",
                   "openvino_model_api", "tensorflow", "keras", "pillow")  # fmt: skip
        libraries |= {name: version for name, version in environment["packages"].items()
                      if name.lower() in engines}  # fmt: skip
    named = ", ".join(f"{name} {version}" for name, version in libraries.items())
    return (f"Measured on {found['cpu']} ({' '.join(found['cpu_flags'])}), "
            f"{found['cpus_available']} CPUs, governor {found['governor'] or 'not known'}, kernel "
            f"{found['kernel']}, Python {found['python']}, {named}; commit {found['commit']}: "
            f"`{found['command']}`. {document['method']}.")  # fmt: skip
