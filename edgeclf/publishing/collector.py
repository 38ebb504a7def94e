"""Where the reports of a fleet come together: a table in SQLite or PostgreSQL, a row a device.

A report counts only if its counter is above the last one that was taken of the device, so what is
sent twice, replayed or late changes nothing. A device that was enrolled with a key is believed by
its signature alone.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeclf.errors import FleetError, MissingDependencyError, OptionError
from edgeclf.fleet.outbox import CONTEXT
from edgeclf.publishing.reports import Report, Sent, files_of, open_report, received

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

_MOST_DEVICES = 200_000  # that open enrolment takes
_KEY_BYTES = 32
_WAIT_S = 10.0  # for others who write


@dataclass(frozen=True)
class Taken:
    """What came of the files in a folder.

    Attributes:
        taken: How many were news.
        known: How many had been taken before.
        refused: Why others were not taken.
    """

    taken: int
    known: int
    refused: tuple[str, ...]


class Collector:
    """A fleet's reports.

    Args:
        place: A file for SQLite, or an address that SQLAlchemy knows, such as
            ``postgresql://USER@HOST/DATABASE``.
        open_enrolment: Whether a device that nobody has enrolled is enrolled by its first report,
            with the key that this one is signed by.

    Raises:
        FleetError: The database cannot be reached.
        OptionError: The address is none.
        MissingDependencyError: SQLAlchemy, or what talks to the database, is not installed.
    """

    def __init__(self, place: str | os.PathLike[str], *, open_enrolment: bool = False) -> None:
        self._sql = _sqlalchemy()
        self._engine = _engine(self._sql, os.fspath(place))
        self._open = open_enrolment
        self._table = _table(self._sql)
        self.place = self._engine.url.render_as_string(hide_password=True)
        with self._asking():
            self._table.metadata.create_all(self._engine)

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()

    def take(self, content: bytes, now: float | None = None) -> bool:
        """Takes what a device sent.

        Args:
            content: As it was sent.
            now: Seconds since 1970; the clock's by default.

        Returns:
            Whether it was news; False where this very report had been taken before.

        Raises:
            FleetError: It is not taken; `reason` says why: ``report``, ``unknown-device``,
                ``signature``, ``replayed``, ``full`` or ``store``.
        """
        sent = open_report(content)
        with self._asking():
            try:
                return self._take(sent, time.time() if now is None else now)
            except self._sql.exc.IntegrityError:  # enrolled by somebody else meanwhile
                return self._take(sent, time.time() if now is None else now)

    def _take(self, sent: Sent, now: float) -> bool:
        table, report = self._table, sent.report
        digest = hashlib.sha256(sent.text.encode()).hexdigest()
        with self._engine.begin() as connection:
            row = self._row(connection, report.name, report.device)
            if row is None:
                key = self._newcomer(connection, sent)
                connection.execute(table.insert().values(
                    name=report.name, device=report.device, key=key, enrolled_at=now, counter=-1,
                    refused=0,
                ))  # fmt: skip
            else:
                key = row.key
            if key is not None:
                _check(sent, key)
            change = _of(table, report).where(table.c.counter < report.counter)
            done = connection.execute(change.values(
                counter=report.counter, received_at=now, digest=digest, report=sent.text,
                signed=key is not None,
            ))  # fmt: skip
            if done.rowcount:
                return True
            if row is not None and (row.counter, row.digest) == (report.counter, digest):
                return False
            connection.execute(_of(table, report).values(refused=table.c.refused + 1))
        last = report.counter if row is None else row.counter
        raise FleetError(
            f"Report {report.counter} of {report.device[:100]!r} is replayed, or late: report "
            f"{last} was taken before.",
            "replayed",
        )

    def _newcomer(self, connection: Connection, sent: Sent) -> str | None:
        """The key of a device that nobody has enrolled, if it may enroll itself."""
        device = sent.report.device[:100]
        if not self._open:
            raise FleetError(
                f"Nobody has enrolled the device {device!r} for {sent.report.name[:64]!r}. Enroll "
                "it with 'edgeclf fleet enroll'.",
                "unknown-device",
            )
        count = self._sql.select(self._sql.func.count()).select_from(self._table)
        if connection.execute(count).scalar_one() >= _MOST_DEVICES:
            raise FleetError(f"{_MOST_DEVICES:,} devices are enrolled, and no more fit.", "full")
        return None if sent.key is None else _key(sent.key)

    def take_folder(self, folder: str | os.PathLike[str]) -> Taken:
        """Takes every report below a folder, which stays as it is.

        Raises:
            OptionError: There is no such folder.
        """
        found, strange = files_of(folder)
        refused, news = list(strange), []
        for path, content in found:
            try:
                news.append(self.take(content))
            except FleetError as exc:
                if exc.reason == "store":
                    raise
                refused.append(f"{path}: {exc}")
        return Taken(sum(news), len(news) - sum(news), tuple(refused))

    def enroll(self, name: str, device: str, key: str | None = None) -> None:
        """Lets a device report; one that is there gets another key, and what it said stays.

        Args:
            name: Of its model.
            device: Its own.
            key: The public half of its key, hex, by which its reports must be signed then; None
                takes them as they come.

        Raises:
            OptionError: The key is none.
        """
        table, key = self._table, None if key is None else _key(key)
        with self._asking(), self._engine.begin() as connection:
            if self._row(connection, name, device) is None:
                connection.execute(table.insert().values(
                    name=name, device=device, key=key, enrolled_at=time.time(), counter=-1,
                    refused=0,
                ))  # fmt: skip
            else:
                mine = (table.c.name == name) & (table.c.device == device)
                connection.execute(table.update().where(mine).values(key=key))

    def forget(self, name: str, device: str) -> bool:
        """Strikes a device out; whether it was there."""
        table = self._table
        mine = (table.c.name == name) & (table.c.device == device)
        with self._asking(), self._engine.begin() as connection:
            return bool(connection.execute(table.delete().where(mine)).rowcount)

    def reports(self) -> list[Report]:
        """The newest report of each device that has sent one."""
        table = self._table
        columns = self._sql.select(table.c.report, table.c.received_at, table.c.signed)
        with self._asking(), self._engine.connect() as connection:
            rows = connection.execute(columns.where(table.c.report.is_not(None))).all()
        return [
            received(open_report(row.report).report, row.received_at, signed=bool(row.signed))
            for row in rows
        ]

    def unheard(self) -> list[tuple[str, str]]:
        """Model and name of each device that was enrolled and has never sent a report."""
        table = self._table
        columns = self._sql.select(table.c.name, table.c.device)
        with self._asking(), self._engine.connect() as connection:
            rows = connection.execute(columns.where(table.c.report.is_(None))).all()
        return sorted((row.name, row.device) for row in rows)

    def _row(self, connection: Connection, name: str, device: str) -> Row[Any] | None:
        table = self._table
        mine = (table.c.name == name) & (table.c.device == device)
        return connection.execute(self._sql.select(table).where(mine)).one_or_none()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """The database's errors in our words."""
        try:
            yield
        except self._sql.exc.IntegrityError:
            raise
        except self._sql.exc.SQLAlchemyError as exc:
            cause = getattr(exc, "orig", None) or exc
            raise FleetError(
                f"The reports' database {self.place} cannot be used: "
                f"{' '.join(str(cause).split())[:200]}. See that it is there, and that this "
                "account may write to it.",
                "store",
            ) from exc


def _sqlalchemy() -> Any:
    try:
        import sqlalchemy
    except ModuleNotFoundError as exc:
        raise MissingDependencyError("sqlalchemy", "collect", "Collecting reports") from exc
    return sqlalchemy


def _engine(sql: Any, place: str) -> Any:
    try:
        url = sql.make_url(place) if "://" in place else sql.URL.create("sqlite", database=place)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        waits = {"timeout": _WAIT_S} if url.get_backend_name() == "sqlite" else {}
        engine = sql.create_engine(url, connect_args=waits, pool_pre_ping=not waits)
    except sql.exc.ArgumentError as exc:
        raise OptionError(
            "The reports' database is no address; expected a file, or "
            "postgresql://USER@HOST/DATABASE."
        ) from exc
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(
            exc.name or "psycopg", "collect", "Collecting reports there"
        ) from exc
    if waits:
        sql.event.listen(engine, "connect", _write_ahead)
    return engine


def _write_ahead(connection: Any, _: Any) -> None:
    """So that who reads does not wait for who writes."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _table(sql: Any) -> Any:
    column = sql.Column
    return sql.Table(
        "edgeclf_devices", sql.MetaData(),
        column("name", sql.String(64), primary_key=True),
        column("device", sql.String(100), primary_key=True),
        column("key", sql.String(64)),
        column("enrolled_at", sql.Double, nullable=False),
        column("counter", sql.BigInteger, nullable=False),
        column("refused", sql.BigInteger, nullable=False),
        column("received_at", sql.Double),
        column("digest", sql.String(64)),
        column("signed", sql.Boolean),
        column("report", sql.Text),
    )  # fmt: skip


def _of(table: Any, report: Report) -> Any:
    return table.update().where((table.c.name == report.name) & (table.c.device == report.device))


def _key(word: str) -> str:
    try:
        if len(key := bytes.fromhex(word)) == _KEY_BYTES:
            return key.hex()
    except ValueError:
        pass
    raise OptionError(
        f"{word[:80]!r} is no device's key; expected 64 hex digits, as 'edgeclf update --sign' "
        "prints them."
    )


def _check(sent: Sent, key: str) -> None:
    """Compares a report with its signature, by the key that the device was enrolled with."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ModuleNotFoundError as exc:
        raise MissingDependencyError("cryptography", "collect", "Signed reports") from exc

    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        public.verify(bytes.fromhex(sent.signature or ""), CONTEXT + sent.text.encode())
    except (InvalidSignature, ValueError) as exc:
        what = "is not signed" if sent.signature is None else "is signed by another key"
        raise FleetError(
            f"The report of {sent.report.device[:100]!r} {what}, and this device was enrolled with "
            f"the key {key[:8]}. Enroll it again if it has a new one.",
            "signature",
        ) from exc
