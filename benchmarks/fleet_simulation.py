"""10,000 devices that update themselves, with what goes wrong in the field, in simulated days.

The device's code is the real one, from the signed metadata to the report, and so are the
publisher's and the collector's; see tests/support/simulated_fleet.py for what is not. Devices look
once a day; a group of 50 looks every two hours. There is a new release every 16 hours, and one of
five is bad: on most devices it fails its certificate, and where it does not, its program crashes.
Some links lose every third request, some devices lose power while they write, have a full disk, or
a clock that is days off.

Once every release goes to everybody at once. Once it goes to the 50 first, and to the others by
`edgeclf fleet promote --if-good`, which is tried each hour.

    python benchmarks/fleet_simulation.py --write
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from shared import ROOT, Figure, finish, parse

sys.path.insert(0, str(ROOT / "tests"))

from edgeclf.errors import QualityGateError
from edgeclf.fleet.orders import Order
from edgeclf.fleet.provision import provision
from edgeclf.publishing.collector import Collector
from edgeclf.publishing.fleet import Fleet, Proof
from edgeclf.publishing.repository import Repository
from support.services import artifact, write
from support.simulated_fleet import DAY_S, Node, Seen, World, copies

NAME, REPORT = "shades", "http://collector/fleet/report"
HOUR_S = 3600.0
CANARY, STABLE = "canary", "stable"
RELEASES, BAD = 5, 3
EVERY_S, FIRST_S = 16 * HOUR_S, 6 * HOUR_S
END_S = FIRST_S + (RELEASES - 1) * EVERY_S + 26 * HOUR_S
CLASSES = {"board A": 0.45, "board B": 0.35, "board C": 0.2}
FAILS_ON = frozenset({"board A", "board B"})
LATE = 0.95  # of the devices, whose time is told
_MEMORY = "/dev/shm"


@dataclass(frozen=True)
class Played:
    """What came of one way to publish.

    Attributes:
        seen: What was counted.
        bad: The hash of the bad release.
        hours: Until 95 % of the devices ran it, or a later one, of each good release; None where
            that many never did.
        failing: Devices on which the bad release fails its certificate.
        halves: Devices on which no whole release runs at the end.
    """

    seen: Seen
    bad: str
    hours: tuple[float | None, ...]
    failing: frozenset[Path]
    halves: int


def play(devices: int, folder: Path, *, staged: bool, seed: int = 1) -> Played:
    """Simulates one fleet.

    Args:
        devices: How many.
        folder: An empty one.
        staged: Whether a release goes to the canaries first.
        seed: Of all that is drawn.
    """
    collector = Collector(folder / "reports.db", open_enrolment=True)
    world = World(folder / "fleet" / "public", collector, CANARY, seed)
    with world.installed():
        made = Repository.create(folder / "fleet")
        nodes = list(fleet_of(devices, folder, made, world, random.Random(seed)))
        for node in nodes:
            world.at(random.Random(f"{seed}/{node.path.name}").uniform(0, node.look_s),
                     lambda node=node: world.look(node))  # fmt: skip
        sent = publisher(world, folder, collector, canaries_of(devices), staged=staged)
        world.run_until(END_S)
        halves = sum(not world.whole(node) for node in nodes)
    collector.close()
    good = [each for each in sent if each[1] not in world.crashes]
    (bad,) = world.crashes
    failing = frozenset(node.path for node in nodes if node.device_class in FAILS_ON)
    return Played(world.seen, bad, hours_of(good, world.seen, devices), failing, halves)


def hours_of(good: list[tuple[float, str]], seen: Seen, devices: int) -> tuple[float | None, ...]:
    """Until 95 % ran each release, or a later good one."""
    late, found, first = round(LATE * devices), [], dict[Path, float]()
    for at_s, sha256 in reversed(good):
        for path, when_s in seen.ran.get(sha256, {}).items():
            first[path] = min(when_s, first.get(path, when_s))
        times = sorted(first.values())
        found.append(None if len(times) < late else (times[late - 1] - at_s) / HOUR_S)
    return tuple(reversed(found))


def fleet_of(
    devices: int, folder: Path, made: Repository, world: World, drawn: random.Random
) -> list[Node]:
    """Provisioned devices, on which a first model runs, and what is wrong with some of them."""
    first = write(folder, artifact(NAME, "0"))
    root = made.public / "metadata" / "1.root.json"
    canaries = canaries_of(devices)
    nodes = []
    for group, count, look_s in ((CANARY, canaries, 2 * HOUR_S),
                                 (STABLE, devices - canaries, DAY_S)):  # fmt: skip
        template = folder / group
        provision(template, url="http://publisher", root=root, name=NAME, group=group, device="x",
                  model=first, device_class="x",
                  report=REPORT if group == CANARY else None)  # fmt: skip
        for path in copies(template, folder / "devices", count):
            (kind,) = drawn.choices(list(CLASSES), list(CLASSES.values()))
            nodes.append(with_troubles(Node(path, group, kind, look_s), drawn))
    world.known[f"0.{NAME}.onnx"] = artifact(NAME, "0").sha256
    return nodes


def canaries_of(devices: int) -> int:
    """How many look often, and get a release first: of 10,000 half a percent."""
    return max(devices // 200, 10)


def with_troubles(node: Node, drawn: random.Random) -> Node:
    """What is drawn for a device."""
    node = replace(node, loss=0.01, cut=0.01, power_cuts=0.02,
                   bytes_per_s=10 ** drawn.uniform(3.5, 6.5))  # fmt: skip
    trouble = drawn.random()
    if trouble < 0.01:
        return replace(node, skew_s=drawn.uniform(40, 400) * DAY_S, set_day=drawn.uniform(0, 5))
    if trouble < 0.02:
        return replace(node, skew_s=-drawn.uniform(2, 400) * DAY_S, set_day=drawn.uniform(0, 5))
    if trouble < 0.03:
        return replace(node, full_until_s=drawn.uniform(0, 5) * DAY_S)
    if trouble < 0.05:
        return replace(node, loss=0.33, cut=0.33)
    if trouble < 0.06:
        return replace(node, bytes_per_s=drawn.uniform(50, 500))
    return node


def publisher(
    world: World, folder: Path, collector: Collector, canaries: int, *, staged: bool
) -> list[tuple[float, str]]:
    """Publishes every release, and widens it by the hour; gives when each was, and its hash."""
    sent: list[tuple[float, str]] = []
    fleet = Fleet(folder / "fleet")

    def publish() -> float | None:
        number = len(sent) + 1
        made = artifact(NAME, str(number))
        counter = fleet.repository.last_counter() + 1
        # Past the gates of `publish`: what is bad is so on the devices alone.
        order = Order(f"{NAME}/{counter}.{NAME}.fp32.onnx", made.sha256, made.size_bytes, NAME,
                      counter, str(number), {CANARY: 10_000},
                      probation={"minutes": 10, "starts": 3, "confirm": 0})  # fmt: skip
        world.known[order.file_name] = made.sha256
        if number == BAD:
            world.fails_on[made.sha256] = FAILS_ON
            world.crashes.add(made.sha256)
        with fleet.repository.changing():
            fleet.repository.write_orders(order, content=made.content)
        if not staged:
            fleet.promote(NAME, to=STABLE)
        sent.append((world.now_s, made.sha256))
        return EVERY_S if number < RELEASES else None

    def widen() -> float:
        if sent and fleet.repository.orders(NAME)[len(sent)].groups.get(STABLE) is None:
            with suppress(QualityGateError):
                proof = Proof(collector.reports(), CANARY, devices=max(1, canaries // 2))
                fleet.promote(NAME, to=STABLE, proof=proof)
        return HOUR_S

    world.at(FIRST_S, publish)
    if staged:
        world.at(FIRST_S + 60, widen)
    return sent


def figures_of(played: Played, devices: int, words: str) -> list[Figure]:
    """What is told of one way to publish."""
    seen, bad = played.seen, played.bad
    took = [each for each in played.hours if each is not None]
    each_took = ", ".join("not by the end" if h is None else f"{h:.1f}" for h in played.hours)
    days = END_S / DAY_S
    wrong = len(seen.committed.get(bad, set()) & played.failing)
    downloads = len(seen.downloaded.get(bad, ())) / devices
    return [
        Figure(f"{words}: devices that committed a release which fails its certificate there",
               wrong, "", at_most=0),
        Figure(f"{words}: devices that committed the bad release at all",
               len(seen.committed.get(bad, ())), ""),
        Figure(f"{words}: devices on which the bad release ever ran",
               len(seen.ran.get(bad, ())), "", note="on trial, until its program had crashed"),
        Figure(f"{words}: devices that ever downloaded the bad release", 100 * downloads, "%",
               at_most=1.0 if words == STAGED else None),
        Figure(f"{words}: time until 95 % run a good release, or a later one",
               statistics.median(took) if took else math.inf, "h", note="devices look once a day; "
               f"of the {RELEASES - 1} good ones: {each_took}"),
        Figure(f"{words}: requests a device and day", seen.requests / devices / days, ""),
        Figure(f"{words}: received a device", seen.received_bytes / devices / 1e3, "kB",
               note=f"{RELEASES} releases of 2 kB, and their metadata"),
        Figure(f"{words}: runs of the updater", seen.runs, ""),
        Figure(f"{words}: of these, cut off by a lack of power", seen.power_cuts, ""),
        Figure(f"{words}: writes that found the disk full", seen.full_disks, ""),
        Figure(f"{words}: times or devices with no whole release to answer with",
               len(seen.broken) + played.halves, "", at_most=0),
    ]  # fmt: skip


STAGED, AT_ONCE = "canaries first", "everybody at once"


def play_apart(devices: int, staged: bool) -> tuple[Played, float]:
    """The same in a process of its own, with the CPU time that it took in seconds."""
    gc.disable()  # there are no circles to speak of, and much that would be walked
    if os.access(_MEMORY, os.W_OK):
        tempfile.tempdir = _MEMORY
    with tempfile.TemporaryDirectory() as folder:
        return play(devices, Path(folder), staged=staged), time.process_time()


def main() -> int:
    args = parse(__doc__, devices=(10_000, "devices"))
    ways = {STAGED: True, AT_ONCE: False}
    with ProcessPoolExecutor(len(ways), multiprocessing.get_context("spawn")) as processes:
        found = list(processes.map(play_apart, [args.devices] * len(ways), ways.values()))
    figures, problems, outcomes = [], [], {}
    for words, (played, _) in zip(ways, found, strict=True):
        figures += figures_of(played, args.devices, words)
        problems += played.seen.broken[:10]
        outcomes[words] = dict(played.seen.outcomes.most_common())
    cpu_s = sum(each for _, each in found)
    figures.append(Figure("CPU of the simulation", cpu_s / 60, "min", at_most=10.0))
    method = (
        f"{args.devices:,} devices, {canaries_of(args.devices)} of them canaries, which report; "
        f"seed 1; {RELEASES} releases, one every 16 hours, the third bad; 2 % of the runs lose "
        "power at one of their first 40 writes; 1 % of the requests are lost and 1 % of the "
        "answers cut off, and of 2 % of the devices a third; 1 % of the clocks run ahead, 1 % "
        "behind and 1 % of the disks are full until a day that is drawn; 1 % of the links carry "
        "50 to 500 bytes a second. Real: the code of device, publisher and collector, and files, "
        "in memory. Not real: time, sockets, the answer of the check of a file, fsync. The same "
        "metadata is parsed, and its signature checked, once for all devices. How the runs ended: "
        f"{outcomes}."
    )
    return finish(__file__, figures, method, args.write, problems=problems)


if __name__ == "__main__":
    raise SystemExit(main())
