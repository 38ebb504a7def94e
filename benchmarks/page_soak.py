"""Does the page's memory grow while its worker answers for a long time?

A Chromium without a window asks the worker again and again; memory is what the browser says of the
page and its workers, after it has collected, before and after.

    python benchmarks/page_soak.py [--seconds 600]
"""

from __future__ import annotations

import base64
import tempfile
import time
from pathlib import Path

from browser import FILE, LIMIT_S, START
from shared import ROOT, Figure, finish, parse

from support import browsers
from support.services import serving


def soak(browser: browsers.Chromium, seconds: int) -> Figure:
    """Memory of page and worker before and after many answers."""
    content = base64.b64encode((ROOT / "examples/mugs/eval/blue/003.jpg").read_bytes()).decode()
    browser.evaluate(
        START
        + f"""
      window.measured = {{ engine, bytes: fromBase64("{content}"), count: 0 }};
      for (let i = 0; i < 200; i++) await engine.classify(measured.bytes.slice().buffer);
      return true;
    }})()"""
    )
    memory = "performance.measureUserAgentSpecificMemory().then(({ bytes }) => bytes)"
    before = browser.evaluate(memory)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        browser.evaluate("""(async () => {
          for (let i = 0; i < 200; i++) {
            await measured.engine.classify(measured.bytes.slice().buffer);
            measured.count += 1;
          }
        })()""")
    grown, count = browser.evaluate(memory) - before, browser.evaluate("measured.count")
    note = f"{count:,} answers in {seconds} s; {before / 1e6:.1f} MB before"
    return Figure("growth of page and worker", grown / 1e6, "MB", at_most=1, note=note)


def main() -> int:
    args = parse(__doc__, seconds=(600, "for which it is asked"))
    with (
        serving("--ui", args.artifacts / FILE) as service,
        tempfile.TemporaryDirectory() as folder,
        browsers.chromium(Path(folder), limit_s=args.seconds + LIMIT_S) as browser,
    ):
        version = browser.command("Browser.getVersion")["product"]
        browser.goto(service.url)
        figures = [soak(browser, args.seconds)]
    return finish(__file__, figures, f"{version}, headless, without a GPU", args.write)


if __name__ == "__main__":
    raise SystemExit(main())
