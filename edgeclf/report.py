"""`edgeclf report`: what was measured as pages: benchmarks, calibrated files, load tests."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgeclf.errors import OptionError
from edgeclf.measurement.matrix.recommendation import add_limit_arguments, limits_from
from edgeclf.system import files
from edgeclf.system.progress import log

if TYPE_CHECKING:
    from edgeclf.measurement.matrix.recommendation import Limits
    from edgeclf.reporting.summary import Summary

SCHEMA = "edgeclf.report/2"
_SUFFIXES = (".html", ".md", ".csv", ".json")
_TRUST = ".trust.json"
_BEGINNING = 200  # letters of a file, among which is its schema

StrPath = str | os.PathLike[str]


def report(
    benchmark: StrPath | Sequence[StrPath],
    *,
    out: StrPath | None = None,
    limits: Limits | None = None,
) -> Path:
    """Writes what `edgeclf.benchmark` measured as ``report.html``, ``.md``, ``.csv``, ``.json``.

    A ``NAME.trust.json`` that `edgeclf.calibrate` wrote becomes ``NAME.trust.html`` and ``.md``,
    and gets what was found and what to do; so does what ``edgeclf load`` wrote.

    Args:
        benchmark: The JSON file that `edgeclf.benchmark` wrote, or several: those of one CPU
            model and system are one device, and a file that was measured on several devices is
            compared across them. Or one ``NAME.trust.json``, or one load test.
        out: Folder for the files; by default the folder of the first one given.
        limits: What the recommended row has to keep; by default what the benchmark was given.

    Returns:
        The HTML page: one file that loads nothing from outside.

    Raises:
        OptionError: `benchmark` is empty, cannot be read, or is neither; there are both kinds; or
            nothing can be written to `out`.
        MissingDependencyError: jinja2 or matplotlib is not installed; nothing was written.

    Examples:
        ```python
        page = edgeclf.report(["pi/benchmark.json", "laptop/benchmark.json"], out="runs/report")
        ```
    """
    paths = [benchmark] if isinstance(benchmark, str | os.PathLike) else list(benchmark)
    if any(map(_has_own_page, paths)):
        return _write_own(paths, out)
    return _write(paths, out, limits)[0]


def _is_trust(path: StrPath) -> bool:
    return Path(path).name.endswith(_TRUST)


def _is_load(path: StrPath) -> bool:
    from edgeclf.measurement.workloads import load_record

    try:
        with open(path, encoding="utf-8") as file:
            beginning = file.read(_BEGINNING)
    except (OSError, UnicodeError):  # whoever reads it says why
        return False
    return f'"{load_record.SCHEMA}"' in beginning


def _has_own_page(path: StrPath) -> bool:
    return _is_trust(path) or _is_load(path)


def _write_own(paths: Sequence[StrPath], out: StrPath | None) -> Path:
    """Writes the pages about calibrated files or a load test, and their findings into the JSON."""
    if len(paths) > 1:
        raise OptionError(
            f"{len(paths)} files were given, of which one is a *{_TRUST} or a load test; expected "
            "that alone, as it has a page of its own."
        )
    page: ModuleType
    source = Path(paths[0])
    if _is_trust(source):
        from edgeclf.reporting import trust_page as page
    else:
        from edgeclf.reporting import load_page as page
    record = page.read_record(source)
    target = files.out_folder(out, source.parent) / source.name
    texts = [render(record) for render in (page.to_html, page.to_markdown)]
    for suffix, content in zip((".html", ".md"), texts, strict=True):
        files.write_text(target.with_suffix(suffix), content)
    files.write_json(target, record)
    return target.with_suffix(".html")


def _write(
    paths: Sequence[StrPath], out: StrPath | None, limits: Limits | None
) -> tuple[Path, tuple[Summary, ...]]:
    """The page, and what was derived from each device."""
    if not paths:
        raise OptionError("No benchmark was given; expected at least one file.")
    from edgeclf.measurement.matrix.schema import read_results
    from edgeclf.reporting.benchmark_page import to_html, to_markdown
    from edgeclf.reporting.csv_export import to_csv
    from edgeclf.reporting.devices import group_by_device
    from edgeclf.reporting.summary import summarize

    page = files.out_folder(out, Path(paths[0]).parent) / "report.html"
    devices = group_by_device(map(read_results, paths))
    summaries = tuple(summarize(device.results, limits) for device in devices)
    # All of it is rendered before the first file is written, so the four stay one set.
    texts = [render(devices, summaries) for render in (to_html, to_markdown, to_csv)]
    for suffix, content in zip(_SUFFIXES, texts, strict=False):
        files.write_text(page.with_suffix(suffix), content)
    entries = [
        {"device": device.name, "summary": asdict(summary), "benchmarks": device.runs}
        for device, summary in zip(devices, summaries, strict=True)
    ]
    files.write_json(page.with_suffix(".json"), {"schema": SCHEMA, "devices": entries})
    return page, summaries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "benchmarks",
        nargs="+",
        metavar="benchmark",
        help="JSON files that 'edgeclf benchmark' wrote, on one device or several; or one "
        "NAME.trust.json that 'edgeclf calibrate' wrote, or what 'edgeclf load' wrote",
    )
    parser.add_argument("--out", metavar="DIR", help="default: the folder of the first file")
    add_limit_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    limits = limits_from(args)
    if any(map(_has_own_page, args.benchmarks)):
        page = _write_own(args.benchmarks, args.out)
        for suffix in (".html", ".md", ".json"):
            print(page.with_suffix(suffix))
        return 0
    page, summaries = _write(args.benchmarks, args.out, limits or None)
    for suffix in _SUFFIXES:
        print(page.with_suffix(suffix))
    misfits = [each.recommendation for each in summaries if each.recommendation.chosen is None]
    for recommendation in misfits:
        log(f"edgeclf: {recommendation.reason}")
    return 1 if limits and misfits else 0


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["report", *sys.argv[1:]]))
