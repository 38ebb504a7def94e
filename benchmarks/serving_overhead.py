"""What a server adds to a picture: its CPU time of a request, beside those of other servers.

Every server answers the same 640x480 JPEG of 30 kB over 8 kept connections; all of them have their
turn in a round, forwards in one and backwards in the next. Counted is user and system time of all
processes of a server, from /proc, and taken off is what the same work takes in a process without a
server: `Classifier.classify` for edgeclf, the bare engine with Pillow's scaled decode for the rest,
which load the same file by that. Servers share one CPU, and the client has the other. "Starlette,
counting" reads the body and answers its length; "a worker" is the least service that answers
pictures in a thread, without limits, deadlines, metrics, proofs or names in its answers.

    python benchmarks/serving_overhead.py --install
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import environments
from http_client import AnswerError, Client
from PIL import Image
from server_process import ServerError, ServerProcess
from serving_peers import APPS, BARE, LEAST, OTHERS, OURS, Peer
from shared import Figure, enlarged, finish, parse, photos

from edgeclf import Classifier
from edgeclf.artifact import load_artifact
from edgeclf.system.progress import log, track

CONNECTIONS = 8
BYTES = 30_700
WARMUP = 30


def picture() -> bytes:
    """A photo of 640x480 with the quality at which it has about `BYTES`."""
    (path,) = photos(1)
    made = (enlarged(path, 640, 480, quality=quality) for quality in range(90, 10, -1))
    return next(each for each in made if len(each) <= BYTES)


def cpus() -> tuple[set[int], set[int]]:
    """Where servers run, and where the client does."""
    client, *servers = sorted(os.sched_getaffinity(0))
    if not servers:
        raise SystemExit("Server and client need a CPU each, and there is only one.")
    return {servers[-1]}, {client}


@contextlib.contextmanager
def on_cpus(wanted: set[int]) -> Iterator[None]:
    """Runs this process there, and lets it run where it did again afterwards."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Turns:
    """One server, over all of its turns.

    Args:
        peer: What it is.
        server: It runs.
        content: The picture.
    """

    def __init__(self, peer: Peer, server: ServerProcess, content: bytes) -> None:
        self.peer = peer
        self.server = server
        self.cpu_ms: list[float] = []
        self.latency_ms: list[float] = []
        self._client = Client(server.address, CONNECTIONS)
        self._requests = [peer.request(content)]
        self.answer = self._ask(WARMUP)

    def take(self) -> None:
        """Measures once."""
        before = self.server.cpu_s()
        self._ask(self.peer.requests)
        self.cpu_ms.append((self.server.cpu_s() - before) * 1e3 / self.peer.requests)

    def _ask(self, count: int) -> bytes:
        replies = self._client.closed_loop(self._requests, count)
        if wrong := [reply for reply in replies if reply.status != 200]:
            raise ServerError(f"answered {wrong[0].status}: {wrong[0].body[:200]!r}")
        self.latency_ms += [reply.latency_ms for reply in replies]
        return replies[-1].body


@contextlib.contextmanager
def running(
    peers: Sequence[Peer], model: Path, content: bytes, own: set[int]
) -> Iterator[tuple[list[Turns], dict[str, str]]]:
    """Starts servers one after another; gives those that answer, and why the others do not."""
    labels = list(load_artifact(model).metadata.labels)
    turns: list[Turns] = []
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for peer in track(peers, "start the servers", len(peers)):
            if peer.environment and not peer.interpreter.exists():
                failed[peer.name] = "not installed; run: serving_overhead.py --install"
                continue
            try:
                home = Path(folder, peer.name.replace(" ", "-"))
                server = peer.start(model, labels, home, own)
                stack.callback(server.stop)
                turns.append(Turns(peer, server, content))
            except (AnswerError, ServerError, OSError, CalledProcessError) as exc:
                failed[peer.name] = f"{type(exc).__name__}: {exc}"
        yield turns, failed


def in_process(model: Path, content: bytes) -> dict[str, Callable[[], object]]:
    """The same work without a server."""
    os.environ["BENCHMARK_MODEL"] = str(model)
    os.environ["BENCHMARK_LABELS"] = json.dumps(load_artifact(model).metadata.labels)
    sys.path.insert(0, str(APPS))
    from engine import Engine

    classifier, engine = Classifier(model, threads=1), Engine()
    return {"classify": lambda: classifier.classify(content), "engine": lambda: engine(content)}


def cpu_of(call: Callable[[], object], calls: int, own: set[int]) -> float:
    """CPU time of a call in this process, in milliseconds, on the servers' CPU."""
    with on_cpus(own):
        start = time.process_time()
        for _ in range(calls):
            call()
        return (time.process_time() - start) * 1e3 / calls


def row(turns: Turns, work_ms: Sequence[float], bare_ms: Sequence[float]) -> dict[str, Any]:
    """One server's line, as JSON types."""
    above = [cpu - work for cpu, work in zip(turns.cpu_ms, work_ms, strict=True)]
    cuts = statistics.quantiles(turns.latency_ms, n=100, method="inclusive")
    return {
        "server": turns.peer.name,
        "environment": turns.peer.environment,
        "cpu_ms": statistics.median(turns.cpu_ms),
        "above_ms": statistics.median(above),
        "of_bare": statistics.median(a / b for a, b in zip(above, bare_ms, strict=True)),
        "rounds_above_ms": above,
        "latency_p50_ms": cuts[49],
        "latency_p99_ms": cuts[98],
        "pss_bytes": turns.server.pss_bytes(),
        "processes": len(list(turns.server.pids())),
        "start_s": turns.server.start_s,
    }


def figures_of(rows: Sequence[dict[str, Any]]) -> list[Figure]:
    found = {row["server"]: row for row in rows}
    ours = found[OURS.name]
    figures = [
        Figure("server CPU of a request above classify(bytes): edgeclf serve", ours["above_ms"],
               "ms", at_most=0.35),
        Figure("the same / Starlette that counts the body", ours["of_bare"], at_most=1.5,
               note=f"{found[BARE.name]['cpu_ms']:.3f} ms"),
        Figure("the same / Starlette that answers by a worker's thread",
               ours["above_ms"] / found[LEAST.name]["above_ms"],
               note=f"{found[LEAST.name]['above_ms']:.3f} ms above the engine"),
    ]  # fmt: skip
    peers = [found[peer.name] for peer in OTHERS if peer.name in found]
    if peers:
        best = min(peers, key=lambda row: row["above_ms"])
        figures.append(
            Figure("the same / the best of the other servers", ours["above_ms"] / best["above_ms"],
                   at_most=1 / 6, note=f"{best['server']}: {best['above_ms']:.2f} ms")
        )  # fmt: skip
    return figures


def main() -> int:
    args = parse(
        __doc__,
        rounds=(6, "turns of each server"),
        only=("", "names of servers besides ours and Starlette, separated by commas"),
        install=(False, "install the servers first, if they are not"),
    )
    if args.install:
        for name in track(environments.SERVERS, "install", len(environments.SERVERS)):
            if isinstance(found := environments.install(name), str):
                log(f"{name} cannot be installed: {found}")
    own, client = cpus()
    load = os.getloadavg()[0]
    wanted = [p for p in OTHERS if not args.only or p.name in args.only.split(",")]
    content = picture()
    model = args.artifacts.resolve() / "mugs.int8.tflite"
    work = in_process(model, content)
    samples: dict[str, list[float]] = {name: [] for name in work}
    servers = [BARE, LEAST, OURS, *wanted]
    with running(servers, model, content, own) as (turns, failed), on_cpus(client):
        for call in work.values():
            cpu_of(call, WARMUP, own)
        order: list[Turns | str] = [*turns, *work]
        for _ in track(range(args.rounds), "rounds", args.rounds):
            for each in order:
                if isinstance(each, Turns):
                    each.take()
                else:
                    samples[each].append(cpu_of(work[each], OURS.requests // 2, own))
            order.reverse()
        bare = next(each.cpu_ms for each in turns if each.peer is BARE)
        nothing = [0.0] * args.rounds
        rows = []
        for each in turns:
            taken = samples["classify" if each.peer is OURS else "engine"]
            rows.append(row(each, taken if each.peer.works else nothing, bare))
    for line in rows:
        print(f"{line['server']:<30} {line['cpu_ms']:8.3f} ms, above {line['above_ms']:8.3f} ms, "
              f"{line['of_bare']:6.1f}x, {line['pss_bytes'] / 1e6:4.0f} MB in "
              f"{line['processes']}, p50 {line['latency_p50_ms']:.1f} ms")  # fmt: skip
    for name, reason in failed.items():
        print(f"{name} FAILED: {reason}")
    with Image.open(io.BytesIO(content)) as image:
        size = image.size
    method = (
        f"{args.rounds} rounds in turns; {size[0]}x{size[1]} JPEG of {len(content)} bytes, "
        f"{CONNECTIONS} kept connections, closed loop; servers together on one CPU, the client on "
        f"another; medians; load of the machine before {load:.1f}"
    )
    installed = {p.environment: found.packages.get(p.environment) for p in OTHERS
                 if (found := environments.find(p.environment))}  # fmt: skip
    return finish(
        __file__, figures_of(rows), method, args.write,
        rows=rows, failed=failed, versions=installed,
        in_process_ms={name: statistics.median(values) for name, values in samples.items()},
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
