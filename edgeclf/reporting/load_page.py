"""A load test as Markdown and as a page that loads nothing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

from edgeclf.measurement.workloads.load_record import (
    STAGES,
    closed_steps,
    open_steps,
    read_load,
)
from edgeclf.reporting import text
from edgeclf.reporting.html import page_environment
from edgeclf.reporting.load_findings import Finding, findings, name_of
from edgeclf.reporting.load_plots import draw_plots
from edgeclf.reporting.tables import Cell, Table, make_table, markdown_document
from edgeclf.system.words import counted

Record = Mapping[str, Any]
Step = Mapping[str, Any]


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `edgeclf load` wrote, and adds ``findings``: what was found, and advice.

    Raises:
        OptionError: The file cannot be read, or is no such record.
    """
    record = read_load(path)
    return {**record, "findings": [dataclasses.asdict(each) for each in findings(record)]}


def to_markdown(record: Record) -> str:
    """The whole report, the plots as tables.

    Args:
        record: As `read_record` gives it.
    """
    notes = [
        f"{each.title}: {each.found}{f' What to do: {each.advice}' if each.advice else ''}"
        for each in _findings(record)
    ]
    found = make_table("What was found, and what to do", "", (), (), 0, notes)
    return markdown_document(
        f"Load test of {record['url']}",
        [_summary(record)],
        [*found, *_tables(record)],
        _facts(record),
    )


def to_html(record: Record) -> str:
    """The whole report as one page.

    Args:
        record: As `read_record` gives it.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    from markupsafe import Markup

    environment = page_environment()
    return environment.get_template("load.html.j2").render(
        url=record["url"],
        lead=text.unbroken(_summary(record)),
        findings=[
            dataclasses.replace(
                each, found=text.unbroken(each.found), advice=text.unbroken(each.advice)
            )
            for each in _findings(record)
        ],
        plots=[
            {"title": plot.title, "note": text.unbroken(plot.note), "svg": Markup(plot.svg)}
            for plot in draw_plots(record)
        ],
        tables=_tables(record),
        facts=_facts(record),
    )


def _findings(record: Record) -> list[Finding]:
    return [Finding(**each) for each in record["findings"]]


def _summary(record: Record) -> str:
    """The knee or what was answered, and what limits it."""
    found = _findings(record)
    capacity = [each for each in found if each.topic == "capacity"][-1:]
    parts = [each.found for each in capacity]
    parts += [f"{each.title}." for each in found if each.topic == "bottleneck" or each.warns]
    return " ".join(dict.fromkeys(parts))


def _steps(record: Record) -> list[Step]:
    return [*open_steps(record["steps"]), *closed_steps(record["steps"])]


def _tables(record: Record) -> list[Table]:
    steps = _steps(record)
    return [
        *make_table(
            "Steps",
            "Requests a second. Latency in ms, from when a request should have been sent; one "
            "that was given up counts with the time until then. A percentile that n cannot carry "
            "is not shown.",
            ("Load", "Offered", "Answered", "In time", "Refused", "Late", "Failed", "p50", "p90",
             "p99", "n"),
            [_rates(step) for step in steps],
            1,
            [*_interrupted(record)],
        ),
        *make_table(
            "Where a request's time goes",
            "Mean ms of what was answered; their sum is the mean latency.",
            ("Load", *(name.capitalize() for name in STAGES), "Sum"),
            [_stages(step) for step in steps if step["stages_ms"]],
            1,
        ),
        *make_table(
            "What it cost",
            "CPU time of the server for each request that it answered or refused, and of this "
            "test for each that it sent; how late those went out.",
            ("Load", "Server, ms a request", "Server, CPUs", "Memory", "Test, ms a request",
             "Test, CPUs", "Late, mean ms", "Late, most ms", "Connections"),
            [_costs(step) for step in steps],
            1,
        ),
    ]  # fmt: skip


def _rates(step: Step) -> tuple[str | Cell, ...]:
    latency = step["latency_ms"] or {}
    refused = f"{step['refused']:,}"
    told = step["refusal_ms"]
    return (
        name_of(step),
        text.digits(step["offered_per_s"]),
        text.digits(step["accepted_per_s"]),
        text.digits(step["goodput_per_s"]),
        Cell(refused, f"p50 {text.duration(told['p50'])}") if told else refused,
        f"{step['late']:,}",
        Cell(f"{step['failed']:,}", ", ".join(_reasons(step))),
        *(text.milliseconds(latency.get(name)) for name in ("p50", "p90", "p99")),
        f"{latency.get('n', 0):,}",
    )


def _reasons(step: Step) -> Iterator[str]:
    for status, count in step["statuses"].items():
        if status not in ("200", "429", "503"):
            yield f"{count:,} with status {status}"
    for failure, count in step["failures"].items():
        yield f"{count:,} {failure}"


def _stages(step: Step) -> tuple[str, ...]:
    times = [step["stages_ms"][name] for name in STAGES]
    return (name_of(step), *map(text.digits, times), text.digits(sum(times)))


def _costs(step: Step) -> tuple[str, ...]:
    server, own = step["server"] or {}, step["generator"]
    cost = own["cpu_us_per_request"]
    return (
        name_of(step),
        text.digits(server.get("cpu_ms_per_request")),
        text.digits(server.get("cpus_used")),
        text.size(server.get("rss_bytes")),
        text.digits(None if cost is None else cost / 1e3),
        text.digits(own["cpu_share"]),
        text.digits(own["mean_late_ms"]),
        text.digits(own["most_late_ms"]),
        f"{own['connections']:,}",
    )


def _interrupted(record: Record) -> Iterator[str]:
    if record["interrupted"]:
        yield "The test was interrupted; its last step is shorter than the others."


def _facts(record: Record) -> dict[str, str]:
    """The conditions, each with its name."""
    images, machine = record["images"], record["environment"]
    versions = [
        f"{v['model']} {v['version']}, SHA-256 {v['sha256']}" for v in record["answered_by"]
    ]
    place = "on the machine that tested it" if record["is_local"] else "on another machine"
    facts = {
        "Server": f"{record['url']}, {place}",
        "Models": "; ".join(versions) or "not told",
        "Pictures": f"{counted(images['count'], 'picture')}, "
        f"{text.size(images['mean_bytes'])} on average, SHA-256 {images['sha256']}",
        "Steps": f"{record['seconds']:g} s each; late after {text.duration(record['deadline_ms'])}"
        f", given up after {record['timeout_s']:g} s; at most "
        f"{counted(record['connections'], 'connection')}; Poisson arrivals, seed {record['seed']}",
        "CPU of this test": machine["cpu"],
        "CPUs": f"{machine['cpus_available']} of {machine['cpus_of_machine']} available",
        "System": f"{machine['system']}, kernel {machine['kernel']}, Python {machine['python']}",
        "Libraries": ", ".join(f"{name} {v}" for name, v in machine["libraries"].items()),
        "Commit": machine["commit"] or "not recorded",
        "Command": machine["command"],
        "Date": machine["date"],
    }
    return {name: str(fact) for name, fact in facts.items()}
