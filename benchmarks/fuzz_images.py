"""Damaged pictures of every kind: each must give a tensor or an ImageError, soon and in bounds.

Takes the files of tests/pictures.py, cuts them, flips bits, overwrites, removes, doubles and mixes
parts, writes other numbers into dimensions and lengths, and lets `load_image` read the result in a
child process. A failure is any other exception, the child's death, an image that takes more than
5 s of CPU time or gives no answer in 60 s, and memory beyond a bound. Some bombs follow: small
files that claim, or cost, much more than they look like. The exit code is 1 after any failure.

An image is made from the seed and its number alone, so any can be made again.

    python benchmarks/fuzz_images.py --count 20000 --seed 0 --processes 1 --save failures
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import select
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from edgeclf.errors import ImageError
from edgeclf.image import ImageSpec, load_image
from edgeclf.measurement.probes.memory import peak_rss_bytes
from edgeclf.system.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
SPEC = ImageSpec(96, 96)
BATCH = 500  # images that one child reads
CPU_LIMIT_MS = 5_000  # of CPU time, which other work on the machine does not lengthen
ANSWER_LIMIT_S = 60
# The most that a picture of the allowed 89 megapixels costs is an animated WebP's four copies of
# 4 bytes a pixel: 1.43 GB.
GROWTH_LIMIT_BYTES = 1_600_000_000
RESERVED_LIMIT_BYTES = 4 * 2**30
BOMB_GROWTH_LIMIT_BYTES = 50_000_000
MEGABYTE = 1_000_000
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


# --- the images --------------------------------------------------------------------------------


def corpus() -> dict[str, bytes]:
    """One intact file of every kind, by name."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import pictures

    return {name: picture.content for name, picture in pictures.pictures().items()}


def make_image(files: Mapping[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """The name of the file that was damaged, and what came of it."""
    rng = random.Random(f"{seed}-{number}")
    name = rng.choice(sorted(files))
    content = bytearray(files[name])
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(DAMAGES)(rng, content, files)
    if content[:4] == b"\x89PNG" and rng.random() < 0.8:
        _mend_checksums(content)  # or zlib's checksum would refuse nearly all of it
    return name, bytes(content)


Files = Mapping[str, bytes]


def _cut(rng: random.Random, content: bytearray, _: Files) -> None:
    del content[rng.randrange(len(content) + 1) :]


def _flip_bits(rng: random.Random, content: bytearray, _: Files) -> None:
    for _ in range(rng.choice((1, 2, 8, 32)) if content else 0):
        content[_position(rng, content)] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, content: bytearray, _: Files) -> None:
    start, length = _position(rng, content), rng.choice((1, 4, 16, 64, 256))
    length = min(length, len(content) - start)
    fill = rng.choice((b"\0", b"\xff", b"\x7f", None))
    content[start : start + length] = rng.randbytes(length) if fill is None else fill * length


def _insert(rng: random.Random, content: bytearray, _: Files) -> None:
    start = _position(rng, content)
    content[start:start] = rng.randbytes(rng.choice((1, 2, 4, 32, 1024)))


def _remove(rng: random.Random, content: bytearray, _: Files) -> None:
    start = _position(rng, content)
    del content[start : start + rng.choice((1, 2, 4, 32, 1024))]


def _double(rng: random.Random, content: bytearray, _: Files) -> None:
    start, length = _position(rng, content), rng.choice((2, 8, 64, 512))
    content[start:start] = content[start : start + length] * rng.choice((1, 1, 2, 50))


def _mix(rng: random.Random, content: bytearray, files: Files) -> None:
    other = files[rng.choice(sorted(files))]
    start, taken = _position(rng, content), rng.randrange(len(other))
    content[start : start + rng.choice((0, 64))] = other[taken : taken + rng.choice((16, 256))]


def _renumber(rng: random.Random, content: bytearray, _: Files) -> None:
    """Writes another number into a dimension, a length or an offset."""
    if content[:1] == b"P":
        numbers = list(re.finditer(rb"\d+", content[1:40]))
        if numbers:
            found = rng.choice(numbers)
            value = rng.choice((0, 1, 2, 7, 255, 256, 4096, 65535, 65536, 2**31, 10**20))
            content[found.start() + 1 : found.end() + 1] = str(value).encode()
        return
    places = [(p, n, order) for p, n, order in _numbers(bytes(content)) if p + n <= len(content)]
    if not places:
        return
    start, width, order = rng.choice(places)
    if rng.random() < 0.1:
        order = "big" if order == "little" else "little"
    most = 256**width
    old = int.from_bytes(content[start : start + width], order)
    near = (old + 1, old - 1, old + 8, old * 2, old // 2)
    edges = (0, 1, 2, 7, 255, 4096, 9000, 65_500, most // 2 - 1, most // 2, most - 1)
    value = rng.choice((*near, *edges, rng.randrange(most)))
    content[start : start + width] = (value % most).to_bytes(width, order)


DAMAGES = (_cut, _flip_bits, _overwrite, _insert, _remove, _double, _mix,
           _renumber, _renumber, _renumber)  # fmt: skip


def _position(rng: random.Random, content: bytearray) -> int:
    """Anywhere, but half the time near the start, where the headers are."""
    length = max(1, len(content))
    return rng.randrange(min(length, rng.choice((64, 512))) if rng.random() < 0.5 else length)


def _numbers(content: bytes) -> Iterator[tuple[int, int, str]]:
    """Where a file of any kind keeps numbers: (position, bytes, byte order)."""
    if content[:3] == b"\xff\xd8\xff":
        # Length of each segment and what follows: size and sampling of a frame, and the tables.
        for found in re.finditer(rb"\xff[\xc0-\xcf\xda-\xef]", content):
            yield from ((found.end(), 2, "big"), (found.end() + 2, 1, "big"))
            yield from ((found.end() + 3 + 2 * i, 2, "big") for i in range(2))
            yield from ((found.end() + 7 + i, 1, "big") for i in range(9))
    elif content[:4] == b"\x89PNG":
        for found in re.finditer(rb"[A-Za-z]{4}", content):
            yield from ((found.start() + i, 4, "big") for i in (-4, 4, 8))
            yield from ((found.end() + 8 + i, 1, "big") for i in range(5))
    elif content[:4] == b"RIFF":
        for found in re.finditer(rb"VP8[ LX]|RIFF|ALPH|AN[IM][MF]|EXIF", content):
            yield found.end(), 4, "little"
            yield from ((found.end() + 4 + i, 3, "little") for i in (0, 3, 4, 6, 7, 9))
    elif content[:2] == b"BM":
        yield from ((p, 4, "little") for p in (2, 10, 14, 18, 22, 30, 34, 46, 50, 54, 58))
        yield from ((p, 2, "little") for p in (26, 28))
    elif content[:3] == b"GIF":
        yield from ((p, 2, "little") for p in (6, 8))
        yield from ((p, 1, "little") for p in (10, 11, 12))
        for found in re.finditer(rb"[,!]", content):
            yield from ((found.end() + i, 2, "little") for i in (0, 2, 4, 6))
            yield found.end() + 8, 1, "little"
    elif content[:2] in (b"II", b"MM"):
        order = "little" if content[:1] == b"I" else "big"
        yield 4, 4, order
        directory = int.from_bytes(content[4:8], order)
        for entry in range(directory + 2, min(directory + 300, len(content)), 12):
            yield from ((entry, 2, order), (entry + 2, 2, order))
            yield from ((entry + 4, 4, order), (entry + 8, 4, order), (entry + 8, 2, order))
    elif content[4:8] == b"ftyp":
        for found in re.finditer(rb"[a-z]{3}[a-z0-9C]", content):
            yield found.start() - 4 if found.start() >= 4 else 0, 4, "big"
            yield from ((found.end() + i, 4, "big") for i in (0, 4, 8))
            yield from ((found.end() + i, 1, "big") for i in range(8))


def _mend_checksums(content: bytearray) -> None:
    position = 8
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 8 + length
        if end + 4 > len(content):
            return
        struct.pack_into(">I", content, end, zlib.crc32(content[position + 4 : end]))
        position = end + 4


# --- the bombs ---------------------------------------------------------------------------------


def bombs() -> dict[str, bytes]:
    """Small files that would cost much; all must be refused at once."""
    buffer = io.BytesIO()
    Image.new("L", (9400, 9400), 128).save(buffer, "JPEG", progressive=True)
    progressive = buffer.getvalue()
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    return {
        "png of 20,000 x 20,000": png_bomb(20_000, 20_000),
        "png of 89,000,000 x 1": png_bomb(89_000_000, 1),
        "gif of 65,535 x 65,535": b"GIF89a" + b"\xff" * 4 + bytes(3) + b";",
        "bmp of 2**31 - 1 squared": b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**31 - 1,
                                                        2**31 - 1, 1, 24, *[0] * 6),
        "progressive jpeg of 3,000 scans": progressive[:-2] + scan * 3000 + progressive[-2:],
    }  # fmt: skip


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of black grey pixels, compressed piece by piece."""
    from support import pictures

    deflate = zlib.compressobj(9)
    left, piece = height * (1 + width), bytes(MEGABYTE)
    packed = []
    while left > 0:
        packed.append(deflate.compress(piece[:left]))
        left -= len(piece)
    chunks = {
        b"IHDR": struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0),
        b"IDAT": b"".join(packed) + deflate.flush(),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(pictures.png_chunk(*chunk) for chunk in chunks.items())


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
