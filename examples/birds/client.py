"""Asks a running service for a batch of pictures: top 3 of each, as a table.

Each picture is a request of its own, several on their way at once. So a balancer in front of
several replicas spreads one batch over all of them, and more machines make it sooner done. It needs
Python and nothing else.
"""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TOP = 3
CONNECTIONS = 4
TIMEOUT_S = 60.0
_BUSY, _TRIES, _MOST_WAIT_S = 503, 5, 5.0


@dataclass(frozen=True)
class Answer:
    """What came of one picture.

    Attributes:
        picture: Its name.
        top: Labels and probabilities, the most probable first; empty where there is no answer.
        by: Model, version and the beginning of the file's SHA-256.
        stages_ms: Of the service: queue, decode, preprocess, inference.
        ms: From sending to the last byte of the answer, waits for a busy service included.
        error: Why there is no answer; None where there is one.
    """

    picture: str
    top: tuple[tuple[str, float], ...] = ()
    by: str = ""
    stages_ms: dict[str, float] | None = None
    ms: float = 0.0
    error: str | None = None

    def record(self) -> dict[str, Any]:
        """As plain JSON types."""
        top = [{"label": label, "probability": share} for label, share in self.top]
        return {"picture": self.picture, "top": top, "by": self.by, "ms": round(self.ms, 3),
                "stages_ms": self.stages_ms, "error": self.error}  # fmt: skip


class Unreachable(Exception):  # noqa: N818 - said of the service
    """No service answers there at all."""


def ask(
    url: str, pictures: Sequence[Path], top: int = TOP, connections: int = CONNECTIONS
) -> list[Answer]:
    """Asks for each picture; one that has no answer does not stop the others.

    Args:
        url: Of the service.
        pictures: Files, whose bytes are sent as they are.
        top: Labels of each.
        connections: Requests on their way at once.

    Returns:
        One answer for each picture, in their order.

    Raises:
        Unreachable: No connection could be made.
    """
    host = _host(url)
    answers: list[Answer | None] = [None] * len(pictures)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    failures: list[Exception] = []
    for index in range(len(pictures)):
        waiting.put(index)

    def work() -> None:
        connection = http.client.HTTPConnection(host, timeout=TIMEOUT_S)
        try:
            while not failures:
                index = waiting.get_nowait()
                answers[index] = _ask_for(connection, pictures[index], top)
        except queue.Empty:
            pass
        except (OSError, http.client.HTTPException) as exc:
            failures.append(Unreachable(f"Cannot ask {url}: {exc}. Is the service running?"))
        except Exception as exc:  # no thread ends without a word
            failures.append(exc)
        finally:
            connection.close()

    count = min(max(connections, 1), len(pictures))
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [answer for answer in answers if answer is not None]


def _host(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.netloc:
        raise Unreachable(f"The service is {url!r}; expected http://HOST:PORT.")
    return parts.netloc


def _ask_for(connection: http.client.HTTPConnection, picture: Path, top: int) -> Answer:
    try:
        content = picture.read_bytes()
    except OSError as exc:
        return Answer(str(picture), error=f"Cannot read it: {exc.strerror}.")
    start = time.perf_counter()
    for left in reversed(range(_TRIES)):
        connection.request("POST", f"/classify?top={top}", content)
        response = connection.getresponse()
        body = response.read()
        if response.status != _BUSY or not left:
            break
        after = response.headers.get("Retry-After", "")
        time.sleep(min(float(after), _MOST_WAIT_S) if after.isdecimal() else 1.0)
    ms = 1e3 * (time.perf_counter() - start)
    try:
        found = json.loads(body)
        if response.status != http.client.OK:
            return Answer(str(picture), ms=ms, error=str(found["error"]))
        scores = tuple((str(each["label"]), float(each["probability"])) for each in found["top"])
        by = f"{found['model']} {found['version']} ({found['sha256'][:12]})"
        stages = {name: float(value) for name, value in found["timing"].items()}
    except (ValueError, LookupError, TypeError):
        error = f"answered {response.status} with what is no answer; is this edgeclf's service?"
        return Answer(str(picture), ms=ms, error=error)
    return Answer(str(picture), scores, by, stages, ms)


def table(answers: Sequence[Answer]) -> str:
    """A line for each of the top labels, and the picture's name in the first of its lines."""
    answered = [answer for answer in answers if answer.error is None]
    if not answered:
        return ""
    pictures = max(len("PICTURE"), *(len(Path(each.picture).name) for each in answered))
    labels = max(len("LABEL"), *(len(label) for each in answered for label, _ in each.top))
    lines = [f"{'PICTURE':<{pictures}}  RANK  {'LABEL':<{labels}}  PROBABILITY"]
    for answer in answered:
        name = Path(answer.picture).name
        for rank, (label, share) in enumerate(answer.top, 1):
            lines.append(f"{name:<{pictures}}  {rank:>4}  {label:<{labels}}  {share:>11.1%}")
            name = ""
    return "\n".join(lines)
