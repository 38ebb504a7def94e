"""`edgeclf profile`: which operators the time goes to, and how far they are from the CPU's peak."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import ArtifactError, OptionError
from edgeclf.system.cpu import MOST_THREADS, is_thread_count
from edgeclf.system.cpu_time import was_busy
from edgeclf.system.words import counted, printable

if TYPE_CHECKING:
    from edgeclf.measurement.jobs.profile import ProfileResult

_SCHEMA = "edgeclf.profile/1"
_SECONDS, _TABLE_SECONDS = 3.0, 100.0
_TOP = 15
_AGREEMENT = 1.25  # a sum of operators further from the whole call than this is told
_FEW_PARTS = 2  # of the graph on the fast path: one, or one on each side of something else
_RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime"}
_METHOD = (
    "one image of random bytes at a time in a fresh process; calls without and with the engine's "
    "profiler in turns; times are means over the quieter half of the calls; a peak is the fastest "
    "of 50 products [256, 512] x [512, 512] in the engine that is best at it"
)


@dataclass(frozen=True)
class Operator:
    """One operator as the engine ran it, which may be several of the file's in one.

    Attributes:
        type: The engine's name of it, as ``QLinearConv``.
        name: Of the file's operator that it comes from; "" where the engine does not tell.
        by: What ran it: the engine's fast path, or something beside that.
        ms: Time of one call, in milliseconds.
        share: Of the time of all operators, 0..1.
        arithmetic: ``int8``, ``fp32`` or ``fp16``; None where nothing is multiplied.
        multiply_adds: For one image; 0 where nothing is multiplied, None where they cannot be told.
        gmacs_per_s: Billion multiply-adds a second; None below a microsecond, or without a count.
        share_of_peak: Of the most this CPU does in that arithmetic, 0..1; None without a peak.
        notes: Why it is off the fast path: ``not delegated``, ``converts`` (between integers and
            floats), ``transposes``, ``in float`` (in a model that else multiplies integers).
    """

    type: str
    name: str
    by: str
    ms: float
    share: float
    arithmetic: str | None
    multiply_adds: int | None
    gmacs_per_s: float | None
    share_of_peak: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Profile:
    """What `profile` found.

    Attributes:
        sentences: The finding in words.
        operators: In the order they run.
        calls: How many calls were recorded.
        plain_ms: Time of one call without the profiler.
        cpus_left: How many CPUs the rest of the system left idle or to this process; None where
            the system does not tell.
        profiled_ms: With it.
        operators_ms: The sum over the operators; the rest of a call is the engine's own.
        peaks: By arithmetic: ``gmacs_per_s``, the ``engine`` that reached it, and all ``engines``.
        runtime: ``name``, ``library``, ``library_version``, ``fast_path`` and ``threads``.
    """

    sentences: tuple[str, ...]
    operators: tuple[Operator, ...]
    calls: int
    plain_ms: float
    cpus_left: float | None
    profiled_ms: float
    operators_ms: float
    peaks: Mapping[str, Mapping[str, Any]]
    runtime: Mapping[str, Any]


def profile(
    model: str | os.PathLike[str],
    *,
    runtime: str | None = None,
    threads: int | None = None,
    seconds: float = _SECONDS,
    out: str | os.PathLike[str] | None = None,
) -> Profile:
    """Times every operator of a model with the engine's own profiler, in a fresh process.

    Args:
        model: A ``.tflite`` or ``.onnx`` file; an artifact, or a model from elsewhere.
        runtime: ``litert`` for ``.tflite``, ``onnxruntime`` for ``.onnx``: the default.
        threads: Threads for one call; by default the CPUs this process may use.
        seconds: How long to call the model, half of that with the profiler on.
        out: Where to write the profile as JSON; by default nowhere.

    Returns:
        The operators, slow and fast, and what was found.

    Raises:
        ArtifactError: The file cannot be read, or is no ``.tflite`` and no ``.onnx``.
        IntegrityError: The file was an artifact and has been changed or cut short.
        OptionError: The runtime has no profiler for this format, a number is too small, or `out`
            cannot be written.
        MeasurementError: The engine is not installed, has no profiler, or cannot run the model.

    Examples:
        ```python
        for sentence in edgeclf.profile("mugs.int8.tflite", threads=1).sentences:
            print(sentence)
        ```
    """
    from edgeclf.measurement.harness.process import measure
    from edgeclf.measurement.jobs.base import to_json
    from edgeclf.measurement.jobs.profile import ProfileJob
    from edgeclf.system import files
    from edgeclf.system.cpu import available_cpus
    from edgeclf.system.environment import environment

    if out is not None:
        files.check_out(out)
    path = Path(model)
    file = _describe_file(path)
    usual = _RUNTIMES[file["format"]]
    threads = available_cpus() if threads is None else threads
    if runtime not in (None, usual) or not is_thread_count(threads) or not 0 < seconds <= 300:
        raise OptionError(
            f"Runtime is {runtime!r}, threads {threads}, seconds {seconds:g}. Expected runtime "
            f"{usual!r}, which has a profiler for .{file['format']} files, 1 to {MOST_THREADS} "
            "threads, and up to 300 seconds."
        )
    job = ProfileJob(model=str(path.resolve()), runtime=usual, threads=threads, seconds=seconds)
    found = measure(job)
    operators = tuple(Operator(**{**o, "notes": tuple(o["notes"])}) for o in found.operators)
    latency = found.latency_ms
    result = Profile(
        sentences=tuple(_sentences(operators, found)),
        operators=operators,
        calls=found.calls,
        plain_ms=latency["plain"],
        cpus_left=found.cpus_left,
        profiled_ms=latency["profiled"],
        operators_ms=latency["operators"],
        peaks=found.peaks,
        runtime=found.runtime,
    )
    if out is not None:
        record = {
            "schema": _SCHEMA,
            **file,
            **to_json(found),
            "sentences": list(result.sentences),
            "method": _METHOD,
            "environment": environment(),
        }
        files.write_json(Path(out), record)
    return result


def _describe_file(path: Path) -> dict[str, Any]:
    from edgeclf.artifact import is_artifact, load_artifact
    from edgeclf.system.files import sha256_of

    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ArtifactError(f"Cannot read the model {path}: {exc.strerror}.") from exc
    artifact = load_artifact(content) if is_artifact(content) else None
    format_ = artifact.format if artifact else path.suffix.lstrip(".")
    if format_ not in _RUNTIMES:
        raise ArtifactError(
            f"A profile is taken of .tflite and .onnx files; received {path}. A .keras model is "
            "converted first: edgeclf convert --help"
        )
    return {
        "file": path.name,
        "sha256": sha256_of(content),
        "size_bytes": len(content),
        "format": format_,
        "precision": artifact.metadata.precision if artifact else None,
    }


def _sentences(operators: Sequence[Operator], found: ProfileResult) -> Iterator[str]:
    """The finding, the most important first."""
    path, threads = found.runtime["fast_path"], found.runtime["threads"]
    plain_ms, cpus_left = found.latency_ms["plain"], found.cpus_left
    kind, _, members = _by_type(operators)[0]
    yield f"{_share(members):.0%} of the time is in {len(members)} {kind}."
    beside = [o for o in operators if o.by != path]
    if beside:
        kinds = ", ".join(
            f"{len(of)} {kind} ({_share(of):.0%} of the time)" for kind, _, of in _by_type(beside)
        )
        yield f"{len(beside)} of {counted(len(operators), 'operator')} run outside {path}: {kinds}."
        parts = sum(fast for fast, _ in groupby(o.by == path for o in operators))
        if parts > _FEW_PARTS:
            yield (
                f"{path} gets the graph in {parts} parts, which costs more than the operators "
                "between them: try another precision."
            )
    else:
        yield f"All {counted(len(operators), 'operator')} run in {path}."
    for note, words in (
        ("converts", "Conversions between types"),
        ("transposes", "Transpositions"),
        ("in float", "Multiplications of floats beside those of integers"),
    ):
        noted = [o for o in operators if note in o.notes]
        if noted:
            yield f"{words}: {len(noted)}, {_share(noted):.1%} of the time."
    yield from _against_peak(operators, plain_ms, found.peaks)
    if cpus_left is not None and was_busy(cpus_left, threads):
        yield (
            f"The machine was busy: {cpus_left:.1f} CPUs were left for "
            f"{counted(threads, 'thread')}. Measure again when it is quiet."
        )
        return
    ratio = sum(o.ms for o in operators) / plain_ms
    if ratio > _AGREEMENT:
        yield f"The operators sum to {ratio:.2f} times a call: the profiler costs the difference."
    elif ratio < 1 / _AGREEMENT:
        yield f"{1 - ratio:.0%} of a call is in no operator."


def _against_peak(
    operators: Sequence[Operator], plain_ms: float, peaks: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    total = sum(o.multiply_adds or 0 for o in operators)
    if any(o.multiply_adds is None for o in operators):
        yield "The multiply-adds of some operators cannot be told, so they are not summed."
    elif any(o.multiply_adds and o.arithmetic not in peaks for o in operators):
        yield "Some operators multiply in an arithmetic whose peak is not measured."
    elif total:
        best_ms = sum(
            o.multiply_adds / peaks[o.arithmetic]["gmacs_per_s"] / 1e6
            for o in operators
            if o.multiply_adds and o.arithmetic
        )
        rates = "; ".join(f"{kind} {_rates(found['engines'])}" for kind, found in peaks.items())
        yield (
            f"At this CPU's peak ({rates}) its {total / 1e6:,.1f} million multiply-adds would "
            f"take {_ms(best_ms)} ms, {best_ms / plain_ms:.0%} of the {_ms(plain_ms)} ms a call "
            "takes."
        )


def _rates(engines: Mapping[str, float]) -> str:
    """The engines' peaks, the CPU's first."""
    (best, rate), *others = sorted(engines.items(), key=lambda each: -each[1])
    return ", ".join(
        [f"{rate:.1f} GMAC/s by {best}", *(f"{r:.1f} by {name}" for name, r in others)]
    )


def _share(operators: Iterable[Operator]) -> float:
    return sum(o.share for o in operators)


def _by_type(operators: Iterable[Operator]) -> list[tuple[str, float, list[Operator]]]:
    """(type, ms, operators of that type), the slowest first."""
    groups: dict[str, list[Operator]] = {}
    for operator in operators:
        groups.setdefault(operator.type, []).append(operator)
    sums = [(kind, sum(o.ms for o in members), members) for kind, members in groups.items()]
    return sorted(sums, key=lambda each: -each[1])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("model", metavar="FILE", nargs="?", help="a .tflite or .onnx file")
    parser.add_argument("--table", action="store_true", help="instead of a file, time the "
                        "operators of small networks on this device, into the device file --out "
                        "that edgeclf fit predicts by")  # fmt: skip
    parser.add_argument("--runtime", metavar="NAME", help="whose profiler: litert for .tflite and "
                        "onnxruntime for .onnx, which is the default")  # fmt: skip
    parser.add_argument("--threads", type=int, help="default: the CPUs this process may use")
    parser.add_argument("--seconds", type=float,
                        help=f"how long to call the model (default: {_SECONDS:g}), or the networks "
                        f"of a table ({_TABLE_SECONDS:g})")  # fmt: skip
    parser.add_argument("--top", type=int, default=_TOP, metavar="N",
                        help="slowest operators to print (default: %(default)s)")  # fmt: skip
    parser.add_argument("--out", metavar="FILE.json", help="all of it as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    if args.top < 0:
        raise OptionError(f"--top is {args.top}; expected 0 or more.")
    if args.table == (args.model is not None):
        raise OptionError("Expected one of a FILE to profile and --table: edgeclf profile --help")
    if args.table:
        return _run_table(args)
    seconds = _SECONDS if args.seconds is None else args.seconds
    found = profile(
        args.model, runtime=args.runtime, threads=args.threads, seconds=seconds, out=args.out
    )
    print("\n".join(_lines(found, args.top)))
    if args.out:
        print(args.out)
    return 0


def _run_table(args: argparse.Namespace) -> int:
    from edgeclf.measurement.table_run import installed_runtimes, measure_table, table_lines
    from edgeclf.system.cpu import available_cpus
    from edgeclf.system.files import check_out

    seconds = _TABLE_SECONDS if args.seconds is None else args.seconds
    threads = available_cpus() if args.threads is None else args.threads
    if args.out is not None:
        check_out(args.out)
    if args.out is None or not is_thread_count(threads) or not 0 < seconds <= 3600:
        raise OptionError(
            f"--out is {args.out!r}, --threads {threads}, --seconds {seconds:g}. Expected a file "
            f"to write the table to, 1 to {MOST_THREADS} threads, and up to 3600 seconds."
        )
    table = measure_table(installed_runtimes(args.runtime), threads=threads, seconds=seconds)
    table.save(args.out)
    print("\n".join([*table_lines(table), args.out]))
    return 0


def _lines(found: Profile, top: int) -> Iterator[str]:
    yield from found.sentences
    ran = found.runtime
    yield ""
    yield (
        f"{ran['library']} {ran['library_version']}, {counted(ran['threads'], 'thread')}, "
        f"{found.calls} calls recorded"
    )
    yield from _table(found.operators, top)
    yield ""
    yield f"{_ms(found.operators_ms):>8} ms  sum of the operators"
    yield f"{_ms(found.profiled_ms):>8} ms  a call with the profiler on"
    yield (
        f"{_ms(found.plain_ms):>8} ms  a call without it, so that profiling adds "
        f"{found.profiled_ms / found.plain_ms - 1:+.0%}"
    )


def _table(operators: Sequence[Operator], top: int) -> Iterator[str]:
    """By type, then the slowest operators."""
    yield ""
    yield f"{'ms':>8}  {'share':>6}  {'count':>5}  type"
    for kind, ms, members in _by_type(operators):
        yield f"{_ms(ms):>8}  {_share(members):>6.1%}  {len(members):>5}  {kind}"
    slowest = sorted(enumerate(operators), key=lambda each: -each[1].ms)[:top]
    if not slowest:
        return
    yield ""
    yield f"{'#':>3}  {'ms':>8}  {'share':>6}  {'MMAC':>7}  {'GMAC/s':>6}  {'of peak':>7}  operator"
    for number, o in slowest:
        count = "?" if o.multiply_adds is None else f"{o.multiply_adds / 1e6:.2f}"
        rate = "" if o.gmacs_per_s is None else f"{o.gmacs_per_s:.1f}"
        share = "" if o.share_of_peak is None else f"{o.share_of_peak:.0%}"
        notes = f" [{', '.join(o.notes)}]" if o.notes else ""
        yield (
            f"{number:>3}  {_ms(o.ms):>8}  {o.share:>6.1%}  {count if count != '0.00' else '':>7}  "
            f"{rate:>6}  {share:>7}  {o.type}{notes}  {_short(o.name)}"
        ).rstrip()
    rest = len(operators) - len(slowest)
    if rest:
        yield f"and {counted(rest, 'faster operator')}; --top {len(operators)} prints them too"


def _short(name: str) -> str:
    """The first of the names that a converter joined, without what would steer a terminal."""
    return printable(name.partition(";")[0][-48:])


def _ms(value: float) -> str:
    return f"{value:.3f}"


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["profile", *sys.argv[1:]]))
