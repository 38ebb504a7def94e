"""The words of `edgeclf fleet` that are about what devices report."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeclf.errors import OptionError
from edgeclf.fleet.orders import ALL
from edgeclf.publishing.reports import Report, read_reports
from edgeclf.system.progress import log

REPORTS = "a folder of the devices' report.json files, or the database of a collector"
_STORE = "a file, or postgresql://USER@HOST/DATABASE"
Add = Callable[..., Any]


def add_words(add: Add, add_plain: Add) -> None:
    """The words' arguments.

    Args:
        add: Makes a word that is about a fleet's folder.
        add_plain: Makes any other word.
    """
    made = add("status", "tell what is ordered, and what devices report of it", _status)
    made.add_argument("--reports", metavar="DIR|DB", help=REPORTS)
    shown = made.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print one JSON document")
    shown.add_argument("--html", metavar="FILE", help="write the reports as a page as well")
    made = add_plain("enroll", "let devices report to a collector", _enroll)
    made.add_argument("database", help=_STORE)
    made.add_argument("name", help="of the model")
    made.add_argument("devices", nargs="+", metavar="DEVICE[=KEY]", help="its name, and the key "
                      "that 'edgeclf update --sign' printed, by which its reports must be "
                      "signed")  # fmt: skip
    made = add_plain("forget", "strike devices out of a collector", _forget)
    made.add_argument("database", help=_STORE)
    made.add_argument("name", help="of the model")
    made.add_argument("devices", nargs="+", metavar="DEVICE", help="its name")
    made = add_plain("collect", "take the reports in a folder, as a service would", _collect)
    made.add_argument("database", help=_STORE)
    made.add_argument("reports", metavar="DIR", help="the devices' report.json files")
    made.add_argument("--open", action="store_true", help="enroll devices that nobody has, by "
                      "their first report and its key")  # fmt: skip


def reports_at(place: str) -> tuple[list[Report], list[tuple[str, str]]]:
    """The newest report of each device, and devices that are known and never sent one.

    Args:
        place: See `REPORTS`.

    Raises:
        OptionError: It is neither.
        FleetError: The database cannot be used.
    """
    if Path(place).is_dir():
        reports, strange = read_reports(place)
        for line in strange:
            log(f"edgeclf: no report: {line}")
        return reports, []
    if "://" not in place and not Path(place).is_file():
        raise OptionError(f"{place} is neither; expected {REPORTS}.")
    from edgeclf.publishing.collector import Collector

    collector = Collector(place)
    try:
        return collector.reports(), collector.unheard()
    finally:
        collector.close()


def _status(args: argparse.Namespace) -> int:
    from edgeclf.publishing.overview import as_text, overview
    from edgeclf.publishing.repository import Repository

    if args.html is not None and args.reports is None:
        raise OptionError("--html needs --reports, which it shows.")
    repository = Repository(args.folder)
    orders, expiries = repository.orders(), repository.expiries()
    document = None if args.reports is None else overview(*reports_at(args.reports))
    if args.json:
        print(json.dumps({
            "orders": [{"sha256": order.sha256, "size_bytes": order.size_bytes, **order.custom()}
                       for order in orders.values()],
            "expires": {role: at.isoformat() for role, at in expiries.items()},
            "reports": document,
        }))  # fmt: skip
        return 0
    for order in orders.values():
        groups = ", ".join(f"{group} {share / ALL:.2%}" for group, share in order.groups.items())
        back = f"  (back to {order.rollback['to']})" if order.rollback else ""
        print(f"{order.counter:>5}  {order.name:<16} {order.sha256[:12]}  {groups}{back}")
    for role, at in expiries.items():
        print(f"{role:<10} signed until {at:%Y-%m-%d %H:%M} UTC")
    if document is not None:
        print(as_text(document))
    if args.html is not None:
        from edgeclf.publishing.overview_page import to_page
        from edgeclf.system.files import replacing

        with replacing(Path(args.html)) as temporary:
            temporary.write_text(to_page(document or {}), encoding="utf-8")
    return 0


def _enroll(args: argparse.Namespace) -> int:
    collector = _collector(args.database)
    try:
        for word in args.devices:
            device, _, key = word.partition("=")
            collector.enroll(args.name, device, key or None)
    finally:
        collector.close()
    return 0


def _forget(args: argparse.Namespace) -> int:
    collector = _collector(args.database)
    try:
        missing = [each for each in args.devices if not collector.forget(args.name, each)]
    finally:
        collector.close()
    for device in missing:
        log(f"edgeclf: {device} is not enrolled for {args.name}")
    return int(bool(missing))


def _collect(args: argparse.Namespace) -> int:
    collector = _collector(args.database, open_enrolment=args.open)
    try:
        done = collector.take_folder(args.reports)
    finally:
        collector.close()
    for line in done.refused:
        log(f"edgeclf: not taken: {line}")
    print(f"{done.taken} taken, {done.known} known already, {len(done.refused)} refused")
    return int(bool(done.refused))


def _collector(place: str, **words: Any) -> Any:
    from edgeclf.publishing.collector import Collector

    return Collector(place, **words)


def proof_of(place: str, group: str, devices: int, signed: bool) -> Any:
    """What an order has to show before it goes further; see `edgeclf.publishing.fleet.Proof`."""
    from edgeclf.publishing.fleet import Proof

    reports: Sequence[Report] = reports_at(place)[0]
    return Proof(reports, group, devices, signed)
