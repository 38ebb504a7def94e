"""Damaged pictures of every kind: each must give a tensor or an ImageError, soon and in bounds.

Takes the files of tests/support/pictures.py, cuts them, flips bits, overwrites, removes, doubles
and mixes parts, writes other numbers into dimensions and lengths, and lets `load_image` read the
result in a child process. A failure is any other exception, the child's death, an image that takes
more than 5 s of CPU time or gives no answer in 60 s, and memory beyond a bound. Some bombs follow:
small files that claim, or cost, much more than they look like. The exit code is 1 after a failure.

An image is made from the seed and its number alone (damaged_images.py), so any can be made again.

    python benchmarks/fuzz_images.py --count 20000 --seed 0 --processes 1 --save failures
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from damaged_images import MEGABYTE, bombs, corpus, make_image

from edgeclf.errors import ImageError
from edgeclf.image import ImageSpec, load_image
from edgeclf.measurement.probes.memory import peak_rss_bytes
from edgeclf.system.progress import Progress

SPEC = ImageSpec(96, 96)
BATCH = 500  # images that one child reads
CPU_LIMIT_MS = 5_000  # of CPU time, which other work on the machine does not lengthen
ANSWER_LIMIT_S = 60
# The most that a picture of the allowed 89 megapixels costs is an animated WebP's four copies of
# 4 bytes a pixel: 1.43 GB.
GROWTH_LIMIT_BYTES = 1_600_000_000
RESERVED_LIMIT_BYTES = 4 * 2**30
BOMB_GROWTH_LIMIT_BYTES = 50_000_000
TENSOR, REFUSED = "tensor", "ImageError"


@dataclass
class Answer:
    """What became of one image.

    Attributes:
        outcome: ``tensor``, ``ImageError``, or what went wrong.
        cpu_ms: CPU time it took.
        growth_bytes: Peak memory of its child so far, beyond what it had before its first image.
    """

    outcome: str
    cpu_ms: float = 0.0
    growth_bytes: int = 0

    @property
    def failed(self) -> bool:
        return self.outcome not in (TENSOR, REFUSED)


@dataclass
class Result:
    """What became of all."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[tuple[str, bytes, str]] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "none")
    growth_bytes: int = 0

    def add(self, name: str, content: bytes, answer: Answer) -> None:
        kind = re.split(r"\W", name)[0]
        counted = answer.outcome if not answer.failed else "failed"
        self.outcomes.setdefault(kind, Counter())[counted] += 1
        self.slowest = max(self.slowest, (answer.cpu_ms, name))
        self.growth_bytes = max(self.growth_bytes, answer.growth_bytes)
        if answer.failed:
            self.failures.append((name, content, answer.outcome))

    def total(self, outcome: str) -> int:
        return sum(counts[outcome] for counts in self.outcomes.values())


# --- the child ---------------------------------------------------------------------------------


def serve() -> int:
    """Reads images from standard input, each after its length, and answers with a line each."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (RESERVED_LIMIT_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # decoders may write there
    warnings.simplefilter("ignore")
    for content in corpus().values():  # loads the decoders
        load_image(content, SPEC)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = peak_rss_bytes()
    while head := sys.stdin.buffer.read(8):
        content = sys.stdin.buffer.read(int.from_bytes(head, "big"))
        start = time.process_time()
        outcome = _outcome(content)
        cpu_ms = (time.process_time() - start) * 1e3
        print(json.dumps([outcome, cpu_ms, peak_rss_bytes() - before]), file=answers, flush=True)
    return 0


def _outcome(content: bytes) -> str:
    try:
        tensor = load_image(content, SPEC)
    except ImageError:
        return REFUSED
    except BaseException:
        return traceback.format_exc()
    if tensor.shape != (SPEC.height, SPEC.width, 3) or tensor.dtype != "uint8":
        return f"tensor of {tensor.dtype} {tensor.shape}"
    return TENSOR


class Child:
    """A process that reads images; one that died or hangs is replaced by a fresh one."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip

    def ask(self, content: bytes) -> Answer:
        given, answers = self._process.stdin, self._process.stdout
        assert given is not None and answers is not None
        try:
            given.write(len(content).to_bytes(8, "big") + content)
            given.flush()
        except BrokenPipeError:
            return Answer(f"the child died: {self._last_words()}")
        if not select.select([answers], [], [], ANSWER_LIMIT_S)[0]:
            return Answer(f"no answer after {ANSWER_LIMIT_S} s")
        line = answers.readline()
        if not line:
            return Answer(f"the child died: {self._last_words()}")
        answer = Answer(*json.loads(line))
        if not answer.failed and answer.cpu_ms > CPU_LIMIT_MS:
            answer.outcome = f"took {answer.cpu_ms:.0f} ms"
        if not answer.failed and answer.growth_bytes > GROWTH_LIMIT_BYTES:
            answer.outcome = f"took {answer.growth_bytes / MEGABYTE:.0f} MB"
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        return f"code {code}, {self._errors.read()[-2000:].decode(errors='replace').strip()}"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


# --- the bombs ---------------------------------------------------------------------------------


def throw_bombs() -> int:
    """Prints what each does; returns how many were not refused within the bound."""
    failed = 0
    for name, content in bombs().items():
        child = Child()
        answer = child.ask(content)
        child.close()
        within = answer.outcome == REFUSED and answer.growth_bytes < BOMB_GROWTH_LIMIT_BYTES
        failed += not within
        print(
            f"bomb, {name} in {len(content):,} bytes: {answer.outcome.strip().splitlines()[-1]} "
            f"after {answer.cpu_ms:.0f} ms with {answer.growth_bytes / MEGABYTE:.1f} MB more"
            f"{'' if within else '  FAILED'}"
        )
    return failed


# --- all of it ---------------------------------------------------------------------------------


def fuzz(count: int, seed: int, processes: int) -> Result:
    files, result = corpus(), Result()
    progress = Progress("read damaged images", count)

    def read(numbers: range) -> list[tuple[str, bytes, Answer]]:
        child, done = Child(), []
        try:
            for number in numbers:
                name, content = make_image(files, seed, number)
                answer = child.ask(content)
                done.append((f"{name}, image {number}", content if answer.failed else b"", answer))
                if answer.failed:
                    child.close()
                    child = Child()
        finally:
            child.close()
        return done

    batches = [range(a, min(a + BATCH, count)) for a in range(0, count, BATCH)]
    with ThreadPoolExecutor(processes) as pool:
        for done in pool.map(read, batches):
            for entry in done:
                result.add(*entry)
            progress.advance(len(done), f"{len(result.failures)} failures")
    return result


def show(result: Result) -> None:
    print(f"{'format':<8} {'images':>7} {TENSOR:>7} {REFUSED:>11} {'failed':>7}")
    for kind, counts in sorted(result.outcomes.items()):
        print(f"{kind:<8} {counts.total():>7} {counts[TENSOR]:>7} {counts[REFUSED]:>11} "
              f"{counts['failed']:>7}")  # fmt: skip
    tensors, refused, failed = (result.total(kind) for kind in (TENSOR, REFUSED, "failed"))
    print(f"{tensors + refused + failed} images: {tensors} tensors, {refused} ImageErrors, "
          f"{failed} failures")  # fmt: skip
    cpu_ms, name = result.slowest
    print(f"slowest image: {cpu_ms:.0f} ms of CPU time ({name})")
    print(f"peak memory of a child: {result.growth_bytes / MEGABYTE:.0f} MB more than at its start")
    for name, content, outcome in result.failures:
        print(f"FAILED {name} ({len(content)} bytes): {outcome.strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000, help="damaged images (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, help="makes other images (default: 0)")
    parser.add_argument("--processes", type=int, default=1, help="children at work (default: 1)")
    parser.add_argument("--save", type=Path, metavar="DIR", help="folder for images that failed")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve()
    result = fuzz(args.count, args.seed, args.processes)
    show(result)
    if args.save and result.failures:
        args.save.mkdir(parents=True, exist_ok=True)
        for name, content, outcome in result.failures:
            stem = re.sub(r"\W+", "-", name)
            (args.save / f"{stem}.bin").write_bytes(content)
            (args.save / f"{stem}.txt").write_text(outcome)
    return 1 if result.failures or throw_bombs() else 0


if __name__ == "__main__":
    raise SystemExit(main())
