"""Sends the photos that a text file names to a running service, and prints what it answers.

edgeclf serve runs/mugs/final/mugs.int8.tflite
python examples/mugs/client.py examples/mugs/request.txt

It needs Python and nothing else, so it runs on any machine that reaches the service.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 60
EVERY_CLASS = 100_000


class Refused(Exception):  # noqa: N818 - a refusal is no fault
    """A photo, or the request file, that there is no answer to."""


def ask(connection: http.client.HTTPConnection, photo: Path) -> dict[str, Any]:
    """What the service says of one photo, whose bytes are sent as they are."""
    try:
        content = photo.read_bytes()
    except OSError as exc:
        raise Refused(f"Cannot read {photo}: {exc.strerror}.") from exc
    connection.request("POST", f"/classify?top={EVERY_CLASS}", content)
    response = connection.getresponse()
    body = response.read()
    try:
        answer: dict[str, Any] = json.loads(body)
    except ValueError:
        raise Refused(f"{photo}: the answer is no JSON; is this edgeclf's service?") from None
    if response.status != 200:
        raise Refused(f"{photo}: {answer.get('error', response.reason)}")
    return answer


def photos_of(request: Path) -> list[Path]:
    """The photos that a file names, one a line, relative to it."""
    try:
        lines = request.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise Refused(f"Cannot read {request}: {exc}.") from exc
    photos = [request.parent / line.strip() for line in lines if line.strip()]
    if not photos:
        raise Refused(f"{request} names no photo; expected a path a line.")
    return photos


def show(photo: Path, answer: dict[str, Any]) -> None:
    width = max(len("CLASSES"), *(len(score["label"]) for score in answer["top"]))
    print(f"{photo}\n  {'CLASSES':<{width}}  PROBABILITIES")
    for score in answer["top"]:
        print(f"  {score['label']:<{width}}  {score['probability']:>13.1%}")


def run(request: Path, url: str) -> int:
    """The exit code: 2 if a photo has no answer, which does not stop the others."""
    photos = photos_of(request)
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)
    failed = 0
    with closing(connection):
        for index, photo in enumerate(photos):
            try:
                answer = ask(connection, photo)
            except Refused as exc:
                print(f"client.py: {exc}", file=sys.stderr)
                failed += 1
                continue
            except (OSError, http.client.HTTPException) as exc:
                raise Refused(f"Cannot ask {url}: {exc}. Start it with 'edgeclf serve'.") from exc
            if index == failed:  # the first that is answered
                who = f"{answer['model']} {answer['version']} ({answer['sha256'][:12]})"
                print(f"answered by {who}", file=sys.stderr)
            show(photo, answer)
    return 2 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("request", type=Path, help="text file with the path of a photo a line")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="default: %(default)s")
    args = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return run(args.request, args.url)
    except Refused as exc:
        print(f"client.py: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
