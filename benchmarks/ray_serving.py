"""What Ray adds to a picture, and how a replica's worker is kept at work.

`edgeclf serve` and `edgeclf serve --ray` with one replica of one worker, whose runtime waits a
fixed time: what a request takes beyond that wait and in CPU time of all processes, and how much of
the worker's time 16 clients can use: with requests held beside the one in work, and with the
pauses after which Ray's proxies look again at a replica that is full.

    python benchmarks/ray_serving.py
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from http_client import Client, post
from scale_out import runtime_source, waiting_artifact, write_photos
from server_process import ServerProcess, free_port
from shared import Figure, finish, parse, registered_runtime

# Requests held ahead, and the pauses of Ray's proxies between two looks at a replica that is full.
RAYS_OWN, OURS = (0.025, 0.5), (0.005, 0.02)
WAYS = {"0 ahead": (0, OURS), "1 ahead": (1, OURS), "4 ahead": (4, OURS),
        "1 ahead, with Ray's own pauses": (1, RAYS_OWN),
        "4 ahead, with Ray's own pauses": (4, RAYS_OWN)}  # fmt: skip
USED = "1 ahead"
CLIENTS = 16
# The constants that are asked about are no options: they are what was found best.
_SERVE = """
import edgeclf
from edgeclf.service import ray_service
from edgeclf.service.config import ServiceConfig

ray_service.AHEAD = {ahead}
ray_service.FIRST_PAUSE_S, ray_service.MOST_PAUSE_S = {pauses}
edgeclf.serve(
    [{file!r}], ray={ray!r},
    config=ServiceConfig(runtime="waiting", port={port}, workers=1, drain_s=0),
)
"""


def measure(file: Path, request: bytes, seconds: float, way: str | None) -> dict[str, float]:
    """One way to serve; without one, without Ray."""
    port = free_port()
    ray = None if way is None else "local"
    ahead, pauses = WAYS[way or USED]
    code = _SERVE.format(ahead=ahead, pauses=pauses, file=str(file), ray=ray, port=port)
    with ServerProcess([sys.executable, "-c", code], port) as server:
        one, many = Client(server.address, 1), Client(server.address, CLIENTS)
        one.closed_loop([request], count=10)
        before, start = server.cpu_s(), time.perf_counter()
        alone = one.closed_loop([request], seconds=seconds)
        idle_s = time.perf_counter() - start
        cpu_ms = (server.cpu_s() - before) * 1e3 / len(alone)
        before = server.cpu_s()
        time.sleep(seconds)
        at_rest = (server.cpu_s() - before) / seconds
        many.closed_loop([request], seconds=2.0)
        start = time.perf_counter()
        replies = many.closed_loop([request], seconds=seconds)
        lasted = time.perf_counter() - start
        good = [reply for reply in replies if reply.status == 200]
        found = {
            "p50_ms": statistics.median(reply.latency_ms for reply in alone),
            "cpu_ms": cpu_ms - at_rest * idle_s * 1e3 / len(alone),
            "at_rest": at_rest,
            "per_s": len(good) / lasted,
            "lost": float(len(replies) - len(good)),
            "start_s": server.start_s,
            "pss_mb": server.pss_bytes() / 1e6,
        }
        one.close()
        many.close()
    print(way, found, file=sys.stderr)
    return found


def main() -> int:
    args = parse(__doc__, wait_ms=(50.0, "that the runtime waits"), seconds=(8.0, "of each part"))
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as name,
        registered_runtime("waiting", runtime_source(args.wait_ms)),
    ):
        folder = Path(name)
        write_photos(folder / "photos")
        request = post("/classify", (folder / "photos" / "240.jpg").read_bytes())
        file = waiting_artifact(folder)
        plain = measure(file, request, args.seconds, None)
        rows = {way: measure(file, request, args.seconds, way) for way in WAYS}
    used = rows[USED]
    figures = [
        Figure("without Ray: a picture beyond the wait, p50", plain["p50_ms"] - args.wait_ms, "ms"),
        Figure("on Ray: a picture beyond the wait, p50", used["p50_ms"] - args.wait_ms, "ms"),
        Figure("without Ray: CPU of all processes a picture", plain["cpu_ms"], "ms"),
        Figure("on Ray: CPU of all processes a picture", used["cpu_ms"], "ms",
               note=f"and {used['at_rest']:.2f} CPUs at rest"),
        Figure("without Ray: memory of all processes", plain["pss_mb"], "MB"),
        Figure("on Ray: memory of all processes", used["pss_mb"], "MB"),
        Figure("on Ray: until it is ready", used["start_s"], "s"),
        Figure(f"without Ray: pictures a second, {CLIENTS} clients", plain["per_s"], "1/s",
               note=f"{1e3 / args.wait_ms:g} are possible"),
    ]  # fmt: skip
    figures += [
        Figure(
            f"on Ray, {way}: pictures a second, {CLIENTS} clients",
            row["per_s"],
            "1/s",
            note=f"one client: {row['p50_ms'] - args.wait_ms:.1f} ms beyond the wait",
        )
        for way, row in rows.items()
    ]
    method = (
        f"one replica of one worker, a runtime that waits {args.wait_ms:g} ms; one kept "
        f"connection, then {CLIENTS}, closed loop, {args.seconds:g} s each; server and clients "
        f"on one machine, whose load was {load:.1f} before"
    )
    return finish(__file__, figures, method, args.write, rows={"without Ray": plain, **rows})


if __name__ == "__main__":
    raise SystemExit(main())
