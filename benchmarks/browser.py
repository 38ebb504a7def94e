"""What the page costs in a browser, beside the browser's own ways and the engine outside of it.

A Chromium and a Firefox without a window, on this machine, and a service that shows the page. All
240 photos of the mugs' evaluation become tensors in both. The photo of the timing has 12
megapixels, and stays in the page: to the tensor, by the page's worker (decoded at 1/8, resized as
Pillow does) and by a canvas (decoded in full, drawn small by it, read back), in turns. The engine:
LiteRT.js on one thread in its worker, and LiteRT with one thread here, in turns of ten calls; the
least of each, as a machine is never quite idle. What of that is spent outside of the engine, on its
tensors, is measured in the page. The first answer counts from the address to the bars, with engine
and model in the browser's cache. How memory behaves is page_soak.py's affair.

    python benchmarks/browser.py [--network runs/zoo/efficientnet-lite0.int8.tflite]
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image
from shared import ROOT, Figure, finish, interleaved_ms, medians, parse, photos

from edgeclf import Classifier, load_artifact, load_image
from edgeclf.service.page_files import PageFiles

sys.path.insert(0, str(ROOT / "tests"))

from support import browsers, pages
from support.services import serving

SIZE = (4000, 3000)
BURST = 10
FILE = "mugs.int8.tflite"
LIMIT_S = 900
Browser: TypeAlias = browsers.Chromium | browsers.Firefox
START = (
    pages.IMPORTS
    + """
const [api, engine] = [new Api(), new Engine()];
const [model] = await api.models();
const loaded = await engine.load(await api.file(model), await api.engines());
const { width, height } = loaded.metadata.image;
"""
)
# The tensors that go to the engine and come back, made and freed around its own function `run`.
_OUTSIDE = """(async () => {{
const base = document.querySelector("script[type=module]").src.replace("page/app.js", "");
const [adapter, {{ Api }}] = await Promise.all(
  ["engine/litert.js", "page/api.js"].map((name) => import(base + name)));
const api = new Api();
const [model] = await api.models();
const {{ litert }} = await api.engines();
const loaded = await adapter.load(new Uint8Array(await api.file(model)), litert.home);
const [run, spent] = [loaded.model.run.bind(loaded.model), {{ within: 0, least: Infinity }}];
loaded.model.run = async (tensors) => {{
  const start = performance.now();
  const outputs = await run(tensors);
  spent.within = performance.now() - start;
  return outputs;
}};
const tensor = new Uint8Array({height} * {width} * 3).map((_, i) => (i * 7919) & 255);
for (let i = 0; i < {count}; i++) {{
  const start = performance.now();
  await adapter.run(loaded, adapter.input(loaded, tensor, [1, {height}, {width}, 3]));
  spent.least = Math.min(spent.least, performance.now() - start - spent.within);
}}
await adapter.dispose(loaded);
return spent.least;
}})()"""
_CANVAS = """
const canvas = async (blob) => {
  const bitmap = await createImageBitmap(blob);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return context.getImageData(0, 0, width, height).data;
};
"""


def photo() -> bytes:
    """A photo of 12 megapixels: smooth, with the noise of a sensor."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (190, 250, 3), np.uint8))
    pixels = np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC)).astype(int)
    pixels += rng.integers(-6, 7, pixels.shape)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def wire() -> Figure:
    """The page as a browser fetches it, without engines."""
    files = PageFiles()
    sent = [files.index, *(each for path, each in files._files.items() if "/engines/" not in path)]
    size = sum(len(each.answer(b"gzip")[0]) for each in sent)
    return Figure("page without engines, over the wire", size / 1e3, "kB", at_most=100)


def decoding(browser: Browser, path: Path, rounds: int) -> list[Figure]:
    """A large photo to the tensor, in the worker and by a canvas."""
    content = photo()
    found = browser.evaluate(
        START
        + _CANVAS
        + f"""
      const bytes = fromBase64("{base64.b64encode(content).decode()}");
      const blob = new Blob([bytes], {{ type: "image/jpeg" }});
      const times = {{ worker: [], canvas: [] }};
      let answer, pixels;
      for (let i = 0; i < {rounds}; i++) {{
        let start = performance.now();
        answer = await engine.classify(bytes.slice().buffer);
        times.worker.push(performance.now() - start - answer.ms.inference);
        start = performance.now();
        pixels = await canvas(blob);
        times.canvas.push(performance.now() - start);
      }}
      engine.end("engine_failed");
      return {{ times, way: answer.way, sha256: answer.tensorSha256, canvas: Array.from(pixels) }};
    }})()"""
    )
    spec = load_artifact(path).metadata.image
    expected = load_image(content, spec)
    same = found["sha256"] == hashlib.sha256(expected.tobytes()).hexdigest()
    drawn = np.reshape(found["canvas"], (spec.height, spec.width, 4))[..., :3]
    off = float(np.abs(drawn - expected.astype(int)).mean())
    worker, canvas = (statistics.median(found["times"][name]) for name in ("worker", "canvas"))
    here = medians(interleaved_ms({"here": lambda: load_image(content, spec)}, rounds))["here"]
    note = (f"worker {worker:.0f} ms ({found['way']} decode), canvas {canvas:.0f} ms, "
            f"Python afterwards {here:.0f} ms")  # fmt: skip
    return [
        Figure(f"12 megapixels to the tensor, worker / canvas, {browser.name}", worker / canvas,
               at_most=1.6, note=note),
        Figure(f"its tensor is not Python's, worker, {browser.name}", float(not same), at_most=0),
        Figure(f"levels that the canvas is off, mean, {browser.name}", off),
    ]  # fmt: skip


def parity(browser: Browser, path: Path) -> Figure:
    """The mugs' evaluation photos, to the bit."""
    spec = load_artifact(path).metadata.image
    files = {str(each): each.read_bytes() for each in photos()}
    found = pages.tensors(browser, files, spec)
    other = sum(
        base64.b64decode(found[name]) != load_image(content, spec).tobytes()
        for name, content in files.items()
    )
    what = f"tensors of {len(files)} mugs that are not Python's, {browser.name}"
    return Figure(what, other, at_most=0)


def engines(browser: browsers.Chromium, path: Path, rounds: int) -> list[Figure]:
    """The engine alone: the worker's inference, and LiteRT's here."""
    name = path.name
    spec = load_artifact(path).metadata.image
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (spec.height, spec.width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    content = base64.b64encode(buffer.getvalue()).decode()
    browser.evaluate(
        START
        + f"""
      window.measured = {{ engine, bytes: fromBase64("{content}") }};
      return true;
    }})()"""
    )
    here, there = [], []
    with Classifier(path, threads=1) as classifier:
        for _ in range(rounds):
            here += [classifier.classify(image).timing.inference_ms for _ in range(BURST)]
            there += browser.evaluate(f"""(async () => {{
              const times = [];
              for (let i = 0; i < {BURST}; i++) {{
                const answer = await measured.engine.classify(measured.bytes.slice().buffer);
                times.push(answer.ms.inference);
              }}
              return times;
            }})()""")
    browser.evaluate("measured.engine.end('engine_failed')")
    outside = browser.evaluate(_OUTSIDE.format(count=rounds * BURST, height=spec.height,
                                               width=spec.width))  # fmt: skip
    note = (f"least {min(there):.2f} and {min(here):.2f} ms, median {statistics.median(there):.2f} "
            f"and {statistics.median(here):.2f} ms")  # fmt: skip
    return [
        Figure(f"{name}: LiteRT.js / LiteRT, one thread, least", min(there) / min(here),
               at_most=2, note=note),
        Figure(f"{name}: of that outside of LiteRT.js's run, least", outside, "ms"),
    ]  # fmt: skip


def first_answer(browser: browsers.Chromium, url: str, rounds: int) -> Figure:
    """From the address to the bars, where engine and model are kept."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "photo.jpg"
        picture.write_bytes((ROOT / "examples/mugs/eval/blue/003.jpg").read_bytes())
        times = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            browser.goto(url)
            browser.evaluate(_until("document.querySelector('.choice')"))
            browser.evaluate("document.querySelector('input[value=browser]').click()")
            browser.choose_files("#files", [picture])
            browser.evaluate(_until("document.querySelector('.bars')"))
            times.append(time.perf_counter() - start)
    warm = times[1:]  # the first one has filled the caches
    note = f"least {min(warm):.2f} s of {rounds}; with nothing kept {times[0]:.2f} s"
    return Figure("first answer, from a warm cache", statistics.median(warm), "s", at_most=1.5,
                  note=note)  # fmt: skip


def _until(condition: str) -> str:
    return f"""new Promise((resolve) => {{
      const look = () => ({condition} ? resolve() : setTimeout(look, 5));
      look();
    }})"""


def main() -> int:
    args = parse(
        __doc__,
        rounds=(15, "turns"),
        network=("", "another int8 .tflite whose engine is measured as well"),
    )
    path: Path = args.artifacts / FILE
    figures = [wire()]
    versions = []
    with serving("--ui", path) as service:
        for open_browser in (browsers.chromium, browsers.firefox):
            with tempfile.TemporaryDirectory() as folder, open_browser(Path(folder)) as browser:
                browser.goto(service.url)
                versions.append(re.findall(r"(?:Firefox|Chrome)/[\d.]+", browser.evaluate(
                    "navigator.userAgent"))[0])  # fmt: skip
                figures.append(parity(browser, path))
                figures += decoding(browser, path, args.rounds)
    for each in (path, *filter(None, [args.network and Path(args.network)])):
        with (
            serving("--ui", each) as service,
            tempfile.TemporaryDirectory() as folder,
            browsers.chromium(Path(folder), limit_s=LIMIT_S) as browser,
        ):
            browser.goto(service.url)
            figures += engines(browser, each, args.rounds)
            if each == path:
                figures.append(first_answer(browser, service.url, args.rounds))
    method = f"{args.rounds} turns, {' and '.join(versions)}, headless, without a GPU"
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
