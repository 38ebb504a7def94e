"""What calibrated files can be trusted with, as Markdown and as a page that loads nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeclf.reporting import text
from edgeclf.reporting.html import page_environment
from edgeclf.reporting.tables import Cell, Table, make_table, markdown_document
from edgeclf.reporting.trust_findings import Finding, findings, photos, share_of, wrong
from edgeclf.reporting.trust_plots import draw_plots
from edgeclf.system import files
from edgeclf.system.words import counted
from edgeclf.trust.record import SCHEMA

Record = Mapping[str, Any]

_TOPICS = {
    "confidence": "Confidence", "risk": "Risk against coverage", "unknown": "Unknown",
    "sets": "Prediction sets", "mistakes": "Mistakes",
}  # fmt: skip
_VERDICTS = {True: "holds", False: "does not hold", None: "not shown"}
_HISTOGRAM_ROWS = 10


def read_record(path: Path) -> dict[str, Any]:
    """Reads what `edgeclf.calibrate` wrote, and adds ``findings``: by file, what holds, and advice.

    Raises:
        OptionError: The file cannot be read, or is no such record.
    """
    hint = "Expected the NAME.trust.json that 'edgeclf calibrate' wrote."
    record = files.read_record(path, SCHEMA, "results", hint)
    found = {
        file: [dataclasses.asdict(each) for each in findings(result)]
        for file, result in record["results"].items()
    }
    return {**record, "findings": found}


def to_markdown(record: Record) -> str:
    """The whole report but for the photos, the plots as tables.

    Args:
        record: As `read_record` gives it.
    """
    return markdown_document(
        f"Trust: {record['name']}",
        [_summary(record)],
        [
            *_file_table(record),
            *_finding_lists(record),
            *_set_table(record),
            *_mistake_table(record),
            *(table for file, result in record["results"].items()
              for table in _plot_tables(f" of {file}", result)),
        ],
        _facts(record),
    )  # fmt: skip


def to_html(record: Record) -> str:
    """The whole report as one page.

    Args:
        record: As `read_record` gives it.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    environment = page_environment()
    return environment.get_template("trust.html.j2").render(
        name=record["name"],
        lead=text.unbroken(_summary(record)),
        tables=[*_file_table(record), *_set_table(record)],
        files=[
            _file(record, file, f"file-{index}") for index, file in enumerate(record["results"])
        ],
        facts=_facts(record),
    )


def _file(record: Record, file: str, name: str) -> dict[str, Any]:
    """What the template shows of one file."""
    from markupsafe import Markup

    result = record["results"][file]
    plots = draw_plots(result, name)
    shown = []
    for finding in _findings(record, file):
        plot = plots.get(finding.topic)
        shown.append({
            "title": plot.title if plot else _TOPICS[finding.topic],
            "note": text.unbroken(plot.note) if plot else "",
            "svg": Markup(plot.svg) if plot else "",
            "verdict": "" if finding.topic == "mistakes" else _VERDICTS[finding.holds],
            "fails": finding.holds is False,
            "found": text.unbroken(finding.found),
            "advice": text.unbroken(finding.advice),
        })  # fmt: skip
    return {
        "name": file,
        "plots": [each for each in shown if each["svg"]],
        "others": [each for each in shown if not each["svg"]],
        "mistakes": [
            {**each, "confidence": _certain(each), "novelty": _novel(each)}
            for each in result["mistakes"]
        ],
        "remarks": result["remarks"],
        "figures": _plot_tables("", result),
    }


def _findings(record: Record, file: str) -> list[Finding]:
    return [Finding(**each) for each in record["findings"][file]]


def _summary(record: Record) -> str:
    return " ".join(_sentences(record))


def _sentences(record: Record) -> Iterator[str]:
    results = record["results"]
    closer = [
        file
        for file, result in results.items()
        if result["reliability"]["after"]["calibration_error"]
        < result["reliability"]["before"]["calibration_error"]
    ]
    one = len(results) == 1 or not closer
    yield (
        f"{text.part(len(closer), len(results), 'file')} {'says' if one else 'say'} after "
        f"calibration more truly than before how often {'it is' if one else 'they are'} right, on "
        "photos that nothing was fitted to."
    )
    failing: dict[str, list[str]] = {}
    for file in results:
        for finding in _findings(record, file):
            if finding.holds is False:
                failing.setdefault(_TOPICS[finding.topic].lower(), []).append(file)
    for topic, affected in failing.items():
        names = "any file" if len(affected) == len(results) > 1 else ", ".join(affected)
        yield f"Do not rely on {topic} of {names}: see below why."
    if not failing:
        yield "Nothing was found not to hold."


def _file_table(record: Record) -> list[Table]:
    rows = []
    for file, result in record["results"].items():
        before, after = (result["reliability"][name] for name in ("before", "after"))
        trust, novelty = result["trust"], result["novelty"]
        recall = share_of(novelty, "recall") if "recall" in novelty else text.DASH
        rows.append((
            file,
            Cell(text.digits(trust["temperature"]["value"]),
                 "–".join(map(text.digits, trust["temperature"]["interval_95"]))),
            _error_cell(before),
            _error_cell(after),
            trust["novelty"]["score"],
            _with_interval(share_of(novelty, "false_unknown")),
            _with_interval(recall),
            text.DASH if "auroc" not in novelty else f"{novelty['auroc']:.3f}",
            f"{wrong(result):,} of {photos(result):,}",
        ))  # fmt: skip
    return make_table(
        "Files",
        "Calibration error: how many points the probability (before) and the confidence (after) "
        "are away from how often answers are right; with few photos it is above 0 even where all "
        "is well. All on photos that nothing was fitted to, with 95 % intervals.",
        ("File", "Temperature", "Error before", "Error after", "Unknown by", "Known called unknown",
         "Unknown recognised", "AUROC", "Wrong"),
        rows,
        5,
    )  # fmt: skip


def _finding_lists(record: Record) -> Iterator[Table]:
    """For each file a list of what was found, without a table."""
    for file, result in record["results"].items():
        notes = [
            f"{_TOPICS[each.topic]}{_verdict(each)}: {each.found} What to do: {each.advice}"
            for each in _findings(record, file)
        ]
        yield from make_table(
            f"{file}: what was found, and what to do", "", (), (), 0, [*notes, *result["remarks"]]
        )


def _verdict(finding: Finding) -> str:
    return "" if finding.topic == "mistakes" else f" ({_VERDICTS[finding.holds]})"


def _set_table(record: Record) -> list[Table]:
    results = record["results"]
    coverages = sorted({each["coverage"] for result in results.values() for each in result["sets"]})
    rows = []
    for file, result in results.items():
        levels = {each["coverage"]: each for each in result["sets"]}
        rows.append((file, *(_set_cell(levels.get(coverage)) for coverage in coverages)))
    return make_table(
        "Prediction sets",
        "How often the set of each coverage holds the right label, with its 95 % interval, and how "
        "many labels are in it. The most probable label always is, so that sets hold more than "
        "they promise where the model is mostly right.",
        ("File", *(f"{100 * coverage:.0f} %" for coverage in coverages)),
        rows if coverages else (),
        1,
    )


def _set_cell(level: Record | None) -> Cell:
    if level is None:
        return Cell(text.DASH)
    return Cell(
        text.percent(level["observed"]),
        f"{text.interval(level['interval_95'])}; {level['mean_size']:.2f} labels",
    )


def _mistake_table(record: Record) -> list[Table]:
    rows = [
        (
            file, each["photo"], each["label"], each["answer"], _certain(each),
            _novel(each),
        )
        for file, result in record["results"].items()
        for each in result["mistakes"]
    ]  # fmt: skip
    return make_table(
        "Surest mistakes",
        "Wrong answers, the surest first.",
        ("File", "Photo", "Truth", "Answer", "Confidence", "Novelty"),
        rows,
        4,
    )


def _plot_tables(of_file: str, result: Record) -> list[Table]:
    """The figures that the plots of a file draw."""
    reliability = [
        (kind, f"{each['low']:.2f}–{each['high']:.2f}", f"{each['photos']:,}",
         text.percent(each["confidence"]), text.percent(each["accuracy"]),
         text.interval(each["interval_95"]))
        for kind, name in (("probability", "before"), ("confidence", "after"))
        for each in result["reliability"][name]["bins"]
    ]  # fmt: skip
    sets = [
        (f"{100 * each['coverage']:.0f} %", str(size), f"{count:,}")
        for each in result["sets"]
        for size, count in enumerate(each["sizes"])
        if count
    ]
    risk = [
        (text.percent(share), f"{least:.4f}", text.percent(risk))
        for share, risk, least in result["risk_at_coverage"]
    ]
    return [
        *make_table(
            f"Reliability{of_file}",
            "Photos by how sure their answers were; the right ones with their 95 % interval.",
            ("Figure", "Between", "Photos", "Said", "Right", "Interval"), reliability, 2,
        ),
        *make_table(
            f"Risk against coverage{of_file}",
            "Wrong answers among the surest photos, down to a confidence.",
            ("Answered", "Confidence from", "Wrong"), risk, 0,
        ),
        *make_table(
            f"Sizes of prediction sets{of_file}",
            "Photos by how many labels are in the set of a coverage.",
            ("Coverage", "Labels", "Photos"), sets, 1,
        ),
        *make_table(
            f"Novelty{of_file}",
            "Photos by novelty; above 1 they are called unknown.",
            ("Novelty", "Known", "Unknown"), _histogram_rows(result["novelty"]), 1,
        ),
    ]  # fmt: skip


def _histogram_rows(novelty: Record) -> Iterable[tuple[str, str, str]]:
    known, unknown = (_summed(novelty.get(kind)) for kind in ("known", "unknown"))
    width = 2 / _HISTOGRAM_ROWS
    for row in range(_HISTOGRAM_ROWS):
        end = f"–{(row + 1) * width:.1f}" if row + 1 < _HISTOGRAM_ROWS else " and more"
        yield f"{row * width:.1f}{end}", known[row], unknown[row]


def _summed(counts: Sequence[int] | None) -> list[str]:
    """A histogram with fewer bins, in words."""
    if counts is None:
        return [text.DASH] * _HISTOGRAM_ROWS
    step = len(counts) // _HISTOGRAM_ROWS
    return [f"{sum(counts[at : at + step]):,}" for at in range(0, len(counts), step)]


def _facts(record: Record) -> dict[str, str]:
    """The conditions, each with its name."""
    facts = {"Classes": f"{len(record['labels']):,}"}
    for file, result in record["results"].items():
        data, runtime = result["trust"]["data"], result["runtime"]
        parts = [
            f"{name.replace('_', ' ')}: {counted(part['images'], 'photo')}, SHA-256 "
            f"{part['sha256']}"
            for name, part in data.items()
            if isinstance(part, dict)
        ]
        facts[file] = (
            f"{result['precision']}, {text.size(result['size_bytes'])}, SHA-256 "
            f"{result['sha256']}; on {text.runtime_library(runtime)} "
            f"({text.runtime_place(runtime)}); {data['split']}; {'; '.join(parts)}"
        )
    return facts


def _error_cell(reliability: Record) -> Cell:
    low, high = (100 * end for end in reliability["interval_95"])
    return Cell(f"{100 * reliability['calibration_error']:.1f}", f"{low:.1f}–{high:.1f}")


def _with_interval(share: str) -> Cell:
    figure, _, interval = share.partition(" [")
    return Cell(figure, interval.rstrip("]"))


def _certain(mistake: Record) -> str:
    return text.percent(mistake["confidence"])


def _novel(mistake: Record) -> str:
    return f"{mistake['novelty']:.2f}{', unknown' * (mistake['novelty'] > 1)}"
