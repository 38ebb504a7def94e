"""What a service does with twice what it can answer, asked for and watched on its page.

A Chromium without a window opens the stress test of a service that has one worker, on this machine,
which carries all three: the service, its load test and the browser. Eight clients that wait tell
what it can answer; the button of the page asks for twice that on schedule, with the photo of the
certificate. All figures are of the record that the page saves.

    python benchmarks/stress.py [--seconds 30]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shared import ROOT, Figure, finish, parse

sys.path.insert(0, str(ROOT / "tests"))

from support import browsers
from support.pages import until
from support.services import serving

FILE = "mugs.int8.tflite"
CLIENTS, CAPACITY_S, DEADLINE_MS = 8, 6.0, 1000.0
STATE = "document.getElementById('stress-state').innerText"
SAVE_S = 30.0


def asked(browser: browsers.Chromium, folder: Path, **fields: float) -> dict[str, Any]:
    """Fills in the form, waits for the end, and saves the record as a person would."""
    for name, value in fields.items():
        browser.evaluate(f"void (document.getElementById('stress-{name}').value = '{value}')")
    browser.evaluate("document.getElementById('stress-start').click()")
    until(browser, f"{STATE}.startsWith('Running')")
    until(browser, f"/^(Done|Ended|The test failed)/.test({STATE})", 2 * fields["seconds"] + 60)
    before = set(folder.glob("load-*.json"))
    browser.evaluate("document.getElementById('stress-save').click()")
    end = time.monotonic() + SAVE_S
    while not (saved := set(folder.glob("load-*.json")) - before):
        if time.monotonic() > end:
            raise SystemExit(f"the page saves nothing: {browser.evaluate(STATE)}")
        time.sleep(0.1)
    record: dict[str, Any] = json.loads(saved.pop().read_text())
    return record


def figures_of(capacity: float, step: dict[str, Any]) -> list[Figure]:
    latency, refusal = step["latency_ms"], step["refusal_ms"]
    generator = step["generator"]
    rate = f"{step['offered_per_s']:.0f} offered, {capacity:.0f} can be answered a second"
    tail = latency["p99"] or float("inf")
    return [
        Figure("offered / what 8 clients were answered", step["offered_per_s"] / capacity,
               at_least=1.8, note=rate),
        Figure("accepted ones answered, p99", tail, "ms", at_most=DEADLINE_MS,
               note=f"{step['accepted']} of {step['offered']}; p50 {latency['p50']:.0f} ms"),
        Figure("the others refused after, median", refusal["p50"], "ms", at_most=10,
               note=f"{step['refused']} of {step['offered']}"),
        Figure("neither answered nor refused", step["failed"], at_most=0),
        Figure("accepted, as a share of what 8 clients were answered",
               step["accepted_per_s"] / capacity),
        Figure("the load test was behind its schedule, mean", generator["mean_late_ms"], "ms",
               note=f"{generator['cpu_share']:.0%} of a CPU"),
    ]  # fmt: skip


def main() -> int:
    args = parse(__doc__, seconds=(30.0, "of the overload"))
    load = os.getloadavg()[0]
    with (
        serving("--ui", "--workers", "1", args.artifacts / FILE) as service,
        tempfile.TemporaryDirectory() as name,
        browsers.chromium(Path(name)) as browser,
    ):
        folder = Path(name) / "saved"
        folder.mkdir()
        version = browser.command("Browser.getVersion")["product"]
        browser.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        browser.goto(f"{service.url}/#stress")
        until(browser, "document.querySelector('#models .choice') !== null")
        first = asked(browser, folder, clients=CLIENTS, rate=1, seconds=CAPACITY_S)
        capacity = first["steps"][0]["accepted_per_s"]
        browser.evaluate("document.getElementById('stress-twice').click()")
        second = asked(browser, folder, clients=0, seconds=args.seconds, deadline=DEADLINE_MS)
        (step,) = second["steps"]
    figures = figures_of(capacity, step)
    images = second["images"]
    method = (
        f"{args.seconds:g} s on schedule after {CAPACITY_S:g} s of {CLIENTS} clients, from the "
        f"page in {version}; one worker, a queue of 64; the certificate's photo, "
        f"{images['mean_bytes']:.0f} bytes; load of the machine before {load:.1f}"
        + (f", at a priority above it (nice {os.nice(0)})" if os.nice(0) < 0 else "")
    )
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
