"""Odd requests over every route of a service: each must get one clear answer, and it must live on.

Starts `edgeclf serve`, with a model that costs nothing unless a file is given, and sends requests
of every kind (odd_requests.py): pictures whole and damaged, forms, JSON, tensors in JSON and behind
binary headers of impossible lengths, addresses, queries and headers of every sort; then asks
whether it still answers a photo. A failure is an answer that is no JSON, no sentence, shows a
traceback or a path of this machine, says that the service itself failed, or does not come; a
traceback in the service's log, or memory that grew beyond a bound. The exit code is then 1.

    python benchmarks/fuzz_service.py --count 10000 --seed 0 [FILE]
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import socket
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from odd_requests import MODEL, OddRequest, OddRequests

from edgeclf.service.keys import add_key
from edgeclf.system.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from support.services import Running, artifact, serving, shade, write  # noqa: E402

ANSWER_LIMIT_S = 30
WARM_SHARE = 0.2  # of the requests, after which memory may only grow by so much
GROWTH_LIMIT_BYTES = 60_000_000
CLIENTS = 4
_PLACES = (str(ROOT), sys.prefix, tempfile.gettempdir(), str(Path.home()), 'File "', "Traceback")
_ENDED = "ended"


@dataclass
class Result:
    """What became of all.

    Attributes:
        outcomes: By how the body was made: the statuses, and `ended` for a connection that a
            request which was cut had no right to.
        failures: Number of the request, and what was wrong.
    """

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest_s: float = 0.0


def ask(address: tuple[str, int], request: OddRequest) -> tuple[str, str | None, float]:
    """Status or `ended`, what is wrong with the answer, and how long it took, in seconds."""
    start = time.perf_counter()
    try:
        with socket.create_connection(address, ANSWER_LIMIT_S) as made:
            try:
                made.sendall(request.content)
                if request.cut:
                    made.shutdown(socket.SHUT_WR)
                status, document = _read(made, request.head)
            except (ConnectionError, http.client.HTTPException) as exc:
                wrong = None if request.cut else f"no answer: {type(exc).__name__} {exc}"
                return _ENDED, wrong, time.perf_counter() - start
    except TimeoutError:
        return _ENDED, f"no answer after {ANSWER_LIMIT_S} s", float(ANSWER_LIMIT_S)
    return str(status), judge(status, document, request.head), time.perf_counter() - start


def _read(made: socket.socket, head: bool) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(made, method="HEAD" if head else "GET")
    with response:
        response.begin()
        return response.status, response.read()


def judge(status: int, document: bytes, head: bool) -> str | None:
    """What is wrong with an answer; None if nothing is."""
    text = document.decode("utf-8", "backslashreplace")
    shown = next((place for place in _PLACES if place in text), None)
    if shown is not None:
        return f"{status} shows {shown}: {text[:500]}"
    if status < 400 or head:
        return None if 200 <= status < 600 else f"status {status}"
    try:
        error = json.loads(document)
    except ValueError:
        return f"{status} is no JSON: {text[:200]}"
    if "ready" in error:  # which lists what keeps it from being so
        return None
    if not isinstance(error.get("error"), str) or not set(error) <= {"error", "code"}:
        return f"{status} is no error of ours: {text[:200]}"
    if not error["error"] or "\n" in error["error"] or error.get("code") == "failed":
        return f"{status} is no sentence: {text[:200]}"
    return None


def fuzz(running: Running, key: str, count: int, seed: int) -> Result:
    """Sends the requests, over several connections at once."""
    requests, result = OddRequests(seed, key), Result()
    host, port = running.url.removeprefix("http://").split(":")
    progress = Progress("sent odd requests", count)

    def send(number: int) -> tuple[int, str, str, str | None, float]:
        request = requests.make(number)
        return number, request.kind, *ask((host, int(port)), request)

    warm = 0
    with ThreadPoolExecutor(CLIENTS) as pool:
        for number, kind, outcome, wrong, took_s in pool.map(send, range(count)):
            result.outcomes.setdefault(kind, Counter())[outcome] += 1
            result.slowest_s = max(result.slowest_s, took_s)
            if wrong is not None:
                result.failures.append((number, wrong))
            if number == int(count * WARM_SHARE):
                warm = memory_bytes("VmRSS", running)
            progress.advance(1, f"{len(result.failures)} failures")
    end = memory_bytes("VmRSS", running)
    peak = memory_bytes("VmHWM", running)
    print(f"memory: {warm / 1e6:.0f} MB after {WARM_SHARE:.0%}, {end / 1e6:.0f} MB at the end, "
          f"{peak / 1e6:.0f} MB at its peak")  # fmt: skip
    if end - warm > GROWTH_LIMIT_BYTES:
        result.failures.append((count, f"memory grew by {(end - warm) / 1e6:.0f} MB"))
    return result


def memory_bytes(what: str, running: Running) -> int:
    """A line of the kernel's on the service's memory."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    found = re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def check_alive(running: Running, key: str) -> str | None:
    """What is wrong with the service afterwards; None if nothing is."""
    host, port = running.url.removeprefix("http://").split(":")
    asked = http.client.HTTPConnection(host, int(port), timeout=ANSWER_LIMIT_S)
    asked.request("GET", "/healthz/ready")
    response = asked.getresponse()
    if response.status != 200:
        return f"it is not ready: {response.read()!r}"
    response.read()
    asked.request("POST", "/classify", shade(240), {"Authorization": f"Bearer {key}"})
    response = asked.getresponse()
    label = json.loads(response.read()).get("label")
    asked.close()
    if response.status != 200 or not label:
        return f"a photo is answered {response.status}"
    if any("Traceback" in line for line in running.lines):
        return "its log holds a traceback: " + "\n".join(running.lines)[-3000:]
    return None


def show(result: Result, count: int) -> None:
    """Prints the counts, and what failed."""
    for kind, counts in sorted(result.outcomes.items()):
        listed = ", ".join(f"{status} {counts[status]}" for status in sorted(counts))
        print(f"{kind:<7} {counts.total():>6}: {listed}")
    print(f"slowest answer: {result.slowest_s:.2f} s")
    print(f"{count} requests: {len(result.failures)} failures")
    for number, wrong in result.failures[:50]:
        print(f"FAILED request {number}: {wrong}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, help="an artifact (default: makes one)")
    parser.add_argument("--count", type=int, default=10_000, help="requests (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="makes other requests (default: 0)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder, "keys")
        key = add_key(keys, "fuzz")
        path, runtime = args.file, "auto"
        if path is None:
            path, runtime = write(Path(folder), artifact(MODEL)), "fake"
        with serving(f"{MODEL}:1={path}", "--runtime", runtime, "--keys", keys) as running:
            result = fuzz(running, key, args.count, args.seed)
            wrong = check_alive(running, key)
            if wrong is not None:
                result.failures.append((args.count, wrong))
            code = running.stop()
            if code:
                result.failures.append((args.count, f"it ended with {code}"))
    show(result, args.count)
    return 1 if result.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
