"""What a service does with 3 and 10 times as many pictures as it can answer, for a minute each.

The service has one CPU, and the client, which never waits for answers, has another. The photo is a
large PNG of few bytes, which takes the service some 40 ms: with a JPEG of a few milliseconds, ten
times the capacity would be more than one CPU can send.
Every tenth request asks whether the service lives. Afterwards one client asks again and again, and
recovery is the time until it is answered as fast as before.

    python benchmarks/serving_overload.py
"""

from __future__ import annotations

import io
import math
import os
import statistics
import threading
import time
from collections.abc import Sequence

from http_client import Client, Reply, get, post
from PIL import Image
from server_process import ServerProcess, rss_bytes
from serving_overhead import cpus, on_cpus
from serving_throughput import answered, serve
from shared import Figure, finish, parse, photos

SIDE = 1920
MOST_CONNECTIONS = 512
FACTORS = (3, 10)
LIVE_EVERY = 10
CAPACITY_S = 6.0
SETTLED = 1.5  # times the latency of before
RECOVERY_LIMIT_S = 30.0


def large_photo() -> bytes:
    """A photo as a PNG that takes long to decode and few bytes: each of its pixels many times."""
    (path,) = photos(1)
    with Image.open(path) as image:
        large = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    large.save(buffer, "PNG")
    return buffer.getvalue()


def recovery_s(server: ServerProcess, request: bytes, usual_ms: float, since: float) -> float:
    """How long after a moment of `time.perf_counter` a picture is answered as before."""
    client = Client(server.address, 1)
    try:
        while (now := time.perf_counter()) < since + RECOVERY_LIMIT_S:
            (reply,) = client.closed_loop([request], count=1)
            if reply.status == 200 and reply.latency_ms <= SETTLED * usual_ms:
                return now - since
        return math.inf
    finally:
        client.close()


class MemoryWatch:
    """Resident memory of a server, in a thread."""

    def __init__(self, server: ServerProcess) -> None:
        self._pids = list(server.pids())
        self._end = threading.Event()
        self._mb: list[float] = []
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def growth_mb(self) -> float:
        """Median of the last third less that of the first, without its first tenth."""
        third = len(self._mb) // 3
        first = self._mb[len(self._mb) // 10 : third + 1]
        return statistics.median(self._mb[-third:]) - statistics.median(first)

    def _watch(self) -> None:
        while not self._end.wait(0.25):
            self._mb.append(sum(map(rss_bytes, self._pids)) / 1e6)


def under(
    server: ServerProcess, request: bytes, rate: float, seconds: float
) -> tuple[list[Reply], list[Reply], float]:
    """Replies to pictures, replies to the question whether it lives, and growth of RSS in MB."""
    requests = [request] * (LIVE_EVERY - 1) + [get("/healthz/live")]
    client = Client(server.address, MOST_CONNECTIONS)
    with MemoryWatch(server) as memory:
        replies = client.open_loop(requests, rate * LIVE_EVERY / (LIVE_EVERY - 1), seconds)
    client.close()
    of_live = [reply for reply in replies if reply.index == LIVE_EVERY - 1]
    pictures = [reply for reply in replies if reply.index < LIVE_EVERY - 1]
    return pictures, of_live, memory.growth_mb


def figures_of(
    factor: int, pictures: Sequence[Reply], live: Sequence[Reply], capacity: float
) -> list[Figure]:
    good = [reply for reply in pictures if reply.status == 200]
    refused = [reply for reply in pictures if reply.status == 503]
    lost = len(pictures) - len(good) - len(refused)
    first = min(reply.due_s for reply in pictures)
    last = max(reply.due_s + reply.latency_ms / 1e3 for reply in good)
    goodput = len(good) / (last - first)
    median = statistics.median(reply.latency_ms for reply in refused)
    slowest = max(reply.latency_ms for reply in live)
    usual = statistics.median(reply.latency_ms for reply in live)
    what = f"{factor} times capacity: "
    return [
        Figure(f"{what}goodput / capacity", goodput / capacity, at_least=0.9,
               note=f"{goodput:.1f} of {capacity:.1f} pictures/s"),
        Figure(f"{what}refused after, median", median, "ms", at_most=10,
               note=f"{len(refused)} of {len(pictures)}"),
        Figure(f"{what}neither answered nor refused", lost, at_most=0),
        Figure(f"{what}live, slowest", slowest, "ms", at_most=50,
               note=f"{len(live)}, median {usual:.1f} ms"),
    ]  # fmt: skip


def main() -> int:
    args = parse(__doc__, seconds=(60.0, "of each overload"), queue=(64, "the service's --queue"))
    own, client_cpus = cpus()
    load = os.getloadavg()[0]
    content = large_photo()
    request = post("/classify", content, "image/png")
    server = serve(args.artifacts.resolve() / "mugs.int8.tflite", own, "--queue", str(args.queue))
    figures = []
    with server, on_cpus(client_cpus):
        alone = Client(server.address, 1)
        usual_ms = statistics.median(
            reply.latency_ms for reply in answered(alone.closed_loop([request], count=30))
        )
        alone.close()
        steady = Client(server.address, 8)
        start = time.perf_counter()
        found = answered(steady.closed_loop([request], seconds=CAPACITY_S))
        capacity = len(found) / (time.perf_counter() - start)
        steady.close()
        for factor in FACTORS:
            pictures, live, growth = under(server, request, capacity * factor, args.seconds)
            end = max(reply.due_s for reply in pictures)
            recovered_s = recovery_s(server, request, usual_ms, end)
            figures += figures_of(factor, pictures, live, capacity)
            what = f"{factor} times capacity: "
            figures += [
                Figure(f"{what}growth of resident memory", growth, "MB", at_most=5),
                Figure(f"{what}until a picture is answered as before", recovered_s, "s",
                       at_most=5, note=f"{usual_ms:.0f} ms; the queue is answered first"),
            ]  # fmt: skip
    method = (
        f"{args.seconds:g} s each at a fixed rate over at most {MOST_CONNECTIONS} connections; "
        f"{SIDE}x{SIDE} PNG of {len(content) / 1e3:.0f} kB; a queue of {args.queue}; "
        f"capacity by 8 connections in {CAPACITY_S:g} s; load of the machine before {load:.1f}"
    )
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
