"""How old answers to a camera's frames are on a bad link, and whether any is lost or given twice.

The page's own modules, under node, send a camera's frames to a service. First over 1 Mbit/s, which
the kernel's token bucket makes of the loopback in a network namespace (both ways share it): they
drop what is late, in turns with a sender that sends every frame at once, at the camera's size and
at the size that the page begins with. An age counts from the frame to its answer, by one clock.
Then over a TCP proxy that cuts the link, by its seed, 20 times for 0.2 to 5 s, half of them
silently: every frame must be answered once, while the other sender is on the same link.

Takes root, iproute2 and node 20 or later; four minutes.

    python benchmarks/link.py [--rounds 3] [--cuts 20]
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from network_lab import LabError, NetworkLab
from PIL import Image
from server_process import ServerProcess, free_port
from shared import ROOT, Figure, enlarged, finish, parse, photos

sys.path.insert(0, str(ROOT / "tests"))

from support.bad_links import Cut, bad_link, cuts

FILE = "mugs.int8.tflite"
CLIENT = ROOT / "benchmarks" / "link_client.mjs"
CAMERA = (640, 480)
INPUT = (224, 224)  # that the page would make frames for: the larger, the harder for the link
RATE, BLOCK_RATE, DEADLINE_MS, WANTED_S = 30, 10, 1000, 1.2
PICTURES = 24
LINK = "rate 1mbit burst 16kb latency 400ms"
PORT = 8080  # of a namespace, where nobody else is
SENDERS = ("drop", "naive", "naive, small")
BETWEEN_S, CUT_S = (1.0, 3.0), (0.2, 5.0)
_FULL = "camera"  # the frames at the camera's size


def client(asked: dict[str, Any]) -> list[str]:
    return ["node", "--no-warnings", "--experimental-websocket", str(CLIENT), json.dumps(asked)]


def make_frames(folder: Path) -> list[dict[str, Any]]:
    """Writes a camera's frames at each of the page's sizes; what these are."""
    asked = {"kind": "steps", "camera": CAMERA, "input": INPUT}
    done = subprocess.run(client(asked), capture_output=True, text=True, check=True)
    steps: list[dict[str, Any]] = json.loads(done.stdout)
    for number, photo in enumerate(photos(PICTURES)):
        content = enlarged(photo, *CAMERA)
        (folder / f"{_FULL}.{number}.jpg").write_bytes(content)
        with Image.open(folder / f"{_FULL}.{number}.jpg") as image:
            for index, step in enumerate(steps):
                small = image.resize(tuple(step["size"]), Image.Resampling.BILINEAR)
                small.save(folder / f"{index}.{number}.jpg", quality=round(100 * step["quality"]))
    for index, step in enumerate(steps):
        sizes = [path.stat().st_size for path in folder.glob(f"{index}.*.jpg")]
        step["mean_bytes"] = round(float(np.mean(sizes)))
    return steps


def ask(sender: str, port: int, folder: Path, **more: Any) -> dict[str, Any]:
    """What a client is told."""
    url = f"ws://127.0.0.1:{port}/v1/models/mugs/stream"
    kind, _, small = sender.partition(", ")
    return {"kind": kind, "url": url, "folder": str(folder), "pictures": PICTURES, "fps": 30,
            "rate": RATE, "deadlineMs": DEADLINE_MS,
            "step": 0 if small else _FULL, **more}  # fmt: skip


def narrow_link(artifact: Path, folder: Path, rounds: int, seconds: int) -> dict[str, Any]:
    """Each sender in turns over the kernel's slow link."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in SENDERS}
    command = [sys.executable, "-m", "edgeclf", "serve", f"mugs={artifact}", "--port", str(PORT)]
    with NetworkLab() as lab, ExitStack() as stack:
        lab.add("one")
        process = subprocess.Popen(lab.command("one", command), stderr=subprocess.PIPE, text=True)
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        assert process.stderr is not None
        if not any("ready at" in line for line in process.stderr):
            raise SystemExit("the service did not start")
        words = ["ip", "link", "set", "lo", "mtu", "1500"]
        subprocess.run(lab.command("one", words), check=True)
        for _ in range(rounds):
            for name in SENDERS:
                words = ["tc", "qdisc", "replace", "dev", "lo", "root", "tbf", *LINK.split()]
                subprocess.run(lab.command("one", words), check=True)
                asked = ask(name, PORT, folder, seconds=seconds, graceS=3)
                done = subprocess.run(lab.command("one", client(asked)), capture_output=True,
                                      text=True, check=True, timeout=seconds + 60)  # fmt: skip
                found[name].append(json.loads(done.stdout))
                words = ["tc", "qdisc", "del", "dev", "lo", "root"]
                subprocess.run(lab.command("one", words), check=True)
    return found


def broken_link(artifact: Path, folder: Path, script: list[Cut]) -> dict[str, Any]:
    """Both senders at once over a link that is cut; and how often the service answered."""
    seconds = sum(cut.after_s + cut.seconds for cut in script) + 1
    command = [sys.executable, "-m", "edgeclf", "serve", f"mugs={artifact}", "--port"]
    port = free_port()
    with (
        ServerProcess([*command, str(port)], port) as server,
        bad_link(port, delay_s=0.02) as (link, begin),
    ):
        started = {
            name: subprocess.Popen(
                client(ask(name, link.port, folder, seconds=seconds, graceS=30, rate=BLOCK_RATE)),
                stdout=subprocess.PIPE, text=True,
            ) for name in ("block", "naive, small")
        }  # fmt: skip
        begin(link.play(script)).result(seconds + 60)
        found = {
            name: json.loads(process.communicate(timeout=seconds + 90)[0])
            for name, process in started.items()
        }
        address = f"http://127.0.0.1:{server.address[1]}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    for line in lines:
        if line.startswith('edgeclf_stream_frames_total{outcome="answered"}'):
            found["worked"] = float(line.rpartition(" ")[2])
    found["connections_cut"] = link.cut_connections
    return found


def ages(runs: list[dict[str, Any]]) -> np.ndarray:
    """Of all answers, those that came too late to be shown among them; in ms."""
    told = [each for run in runs for each in run["answers"]]
    return np.array([age for _, outcome, age, _ in told if outcome == "answered"])


def figures_of_ages(found: dict[str, Any], seconds: int) -> list[Figure]:
    made = []
    for name, runs in found.items():
        own, where = ages(runs), f"1 Mbit/s, {name}"
        late = int((own > DEADLINE_MS).sum())
        p50, p95 = (float(np.percentile(own, share)) for share in (50, 95))
        numbered = sum(run["numbered"] for run in runs)
        refused = sum(each[1] == "late" for run in runs for each in run["answers"])
        note = (f"p50 {p50:.0f} ms; {len(own):,} answers to {numbered:,} frames in {len(runs)} x "
                f"{seconds} s, {refused} refused for their age")  # fmt: skip
        ours = name == "drop"
        limits: list[dict[str, float]] = (
            [{"at_most": WANTED_S}, {"at_most": 0}] if ours
            else [{"at_least": WANTED_S}, {"at_least": 1}]  # the test tells them apart
        )  # fmt: skip
        made += [
            Figure(f"{where}: age of an answer, p95", p95 / 1e3, "s", note=note, **limits[0]),
            Figure(f"{where}: answers past the deadline of 1 s", late, **limits[1]),
        ]
    return made


def figures_of_cuts(found: dict[str, Any], script: list[Cut]) -> list[Figure]:
    made, answered = [], 0
    for name in ("block", "naive, small"):
        run, where = found[name], f"{len(script)} cuts, {name}"
        numbers = [n for n, outcome, _, _ in run["answers"] if outcome == "answered"]
        answered += len(set(numbers))
        lost = run["numbered"] - len(set(numbers))
        if name != "block":
            note = f"of {run['numbered']:,}"
            made.append(Figure(f"{where}: frames without an answer", lost, at_least=1, note=note))
            continue
        counts, worst = run["counts"], max(age for _, _, age, _ in run["answers"])
        note = (f"of {run['numbered']:,}; {counts['resent']} sent again, of which "
                f"{counts['duplicate']} had been answered")  # fmt: skip
        made += [
            Figure(f"{where}: frames without an answer", lost, at_most=0, note=note),
            Figure(f"{where}: answers given twice", len(numbers) - len(set(numbers)), at_most=0),
            Figure(f"{where}: oldest answer", worst / 1e3, "s"),
        ]
    note = "the naive sender's, whose answers the cuts took"
    unheard = found["worked"] - answered
    made.append(Figure("classified, and the answer never heard", unheard, note=note))
    return made


def main() -> int:
    args = parse(__doc__, rounds=(3, "turns on the slow link"), seconds=(10, "of each"),
                 cuts=(20, "outages"), seed=(19, "of the outages"))  # fmt: skip
    if shutil.which("node") is None or shutil.which("tc") is None:
        raise SystemExit("This takes the programs 'node' and 'tc': apt-get install nodejs iproute2")
    artifact: Path = args.artifacts / FILE
    script = cuts(args.seed, args.cuts, BETWEEN_S, CUT_S)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = make_frames(folder)
        try:
            narrow = narrow_link(artifact, folder, args.rounds, args.seconds)
        except LabError as exc:
            raise SystemExit(str(exc)) from exc
        broken = broken_link(artifact, folder, script)
    figures = figures_of_ages(narrow, args.seconds) + figures_of_cuts(broken, script)
    used = np.sum([run["steps"] for run in narrow["drop"]], axis=0).tolist()
    out_s = sum(cut.seconds for cut in script)
    method = (
        f"{args.rounds} turns of {args.seconds} s for each sender on tbf {LINK}, both ways on one "
        f"loopback; camera {CAMERA[0]} x {CAMERA[1]}, {RATE} frames/s for an input of {INPUT[0]} x "
        f"{INPUT[1]}; {args.cuts} cuts at {BLOCK_RATE} frames/s, of {CUT_S[0]} to {CUT_S[1]} s by "
        f"seed {args.seed}, {out_s:.0f} s of them together, 20 ms each way"
    )
    more = {"steps": [{**step, "frames": n} for step, n in zip(steps, used, strict=True)],
            "connections_cut": broken["connections_cut"]}  # fmt: skip
    return finish(__file__, figures, method, args.write, **more)


if __name__ == "__main__":
    raise SystemExit(main())
