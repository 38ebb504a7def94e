"""A tracking server asked with Python alone, and all that one may answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeclf.errors import IntegrityError, OptionError, RegistryError
from edgeclf.registry.address import Address
from edgeclf.registry.rest import RestSource
from edgeclf.registry.source import Cache, default_cache, open_source
from edgeclf.registry.tags import SHA256
from support.registries import Tracking, files_below, tracking
from support.services import artifact

CHAMPION = Address("shades", "champion")


@pytest.fixture
def server() -> Iterator[Tracking]:
    with tracking() as made:
        yield made


def test_an_alias_and_its_file(server: Tracking, tmp_path: Path) -> None:
    made = artifact()
    server.add(made, "7")
    source, cache = open_source(server.url + "/"), Cache(tmp_path)
    entry = source.resolve(CHAMPION)
    assert (entry.version, entry.sha256) == ("7", made.sha256)
    path = cache.fetch(source, entry)
    assert path.read_bytes() == made.content
    asked = len(server.heads)
    assert cache.fetch(source, entry) == path and len(server.heads) == asked  # it is here
    path.write_bytes(b"damaged here")
    assert cache.fetch(source, entry).read_bytes() == made.content
    assert files_below(tmp_path) == [f"{made.sha256}/shades.fp32.onnx"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_was_cut_off_goes_on(
    server: Tracking, tmp_path: Path, ranges: bool
) -> None:
    made = artifact()
    server.add(made, "7")
    server.cut, server.ranges = 500, ranges
    source, cache = RestSource(server.url), Cache(tmp_path)
    entry = source.resolve(CHAMPION)
    with pytest.raises(RegistryError, match="after 500 bytes"):
        cache.fetch(source, entry)
    assert not cache.path_of(entry).exists()
    server.cut = None
    assert cache.fetch(source, entry).read_bytes() == made.content
    assert server.heads[-1][1].get("Range") == "bytes=500-"


def test_a_whole_part_needs_nothing_more(server: Tracking, tmp_path: Path) -> None:
    made = artifact()
    server.add(made, "7")
    source = RestSource(server.url)
    target = tmp_path / "part"
    target.write_bytes(made.content)
    source.download(source.resolve(CHAMPION), target)
    assert target.read_bytes() == made.content


def test_another_file_than_the_tag_says_is_no_version(server: Tracking, tmp_path: Path) -> None:
    made = artifact()
    server.add(made, "7")
    server.files["7"] = (server.files["7"][0], made.content[:-1] + b"!")
    source, cache = RestSource(server.url), Cache(tmp_path)
    with pytest.raises(IntegrityError, match="damaged or replaced"):
        cache.fetch(source, source.resolve(CHAMPION))
    assert files_below(tmp_path) == []


def test_what_is_not_there_is_named(server: Tracking) -> None:
    source = RestSource(server.url)
    with pytest.raises(RegistryError, match="answers 404 for models:/shades@champion: no such"):
        source.resolve(CHAMPION)
    server.add(artifact(), "7")
    del server.files["7"][0][SHA256]
    with pytest.raises(RegistryError, match=r"Register the file"):
        source.resolve(CHAMPION)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, b"<html>"), "is no JSON"),
        ((200, b"[]"), "no object"),
        ((200, b"{}"), "names no version"),
        ((200, b'{"model_version": {"version": 7}}'), "names no version"),
        ((200, b'{"model_version": {"version": "7", "tags": [3]}}'), "another form"),
        ((200, b'{"model_version": {"version": "7", "tags": [{}]}}'), "another form"),
        ((401, b'{"error_code": "PERMISSION_DENIED"}'), "401 .*PERMISSION_DENIED"),
        ((500, b"[]"), "answers 500"),
        ((302, b""), "answers 302"),
    ],
)
def test_strange_answers_are_sentences(
    server: Tracking, answer: tuple[int, bytes], message: str
) -> None:
    server.answer = answer
    with pytest.raises(RegistryError, match=message):
        RestSource(server.url).resolve(CHAMPION)


def test_files_that_the_server_does_not_hand_on(server: Tracking, tmp_path: Path) -> None:
    server.add(artifact(), "7")
    server.place = "s3://bucket/1/models"
    source = RestSource(server.url)
    with pytest.raises(RegistryError, match=r"in 's3'.*--serve-artifacts"):
        source.download(source.resolve(CHAMPION), tmp_path / "part")


def test_files_that_are_named_with_the_server(server: Tracking, tmp_path: Path) -> None:
    made = artifact()
    server.add(made, "7")
    server.place = "mlflow-artifacts://registry:5000/1/models"
    source = RestSource(server.url)
    source.download(source.resolve(CHAMPION), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == made.content


def test_a_server_that_is_away_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(RegistryError, match=r"is away: .*refused"):
        RestSource(url).resolve(CHAMPION)


def test_who_asks_is_said_as_mlflow_says_it(
    server: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add(artifact(), "7")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    RestSource(server.url).resolve(CHAMPION)
    assert server.heads[-1][1]["Authorization"] == "Basic YW5uOnNlY3JldA=="
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0")
    RestSource(server.url).resolve(CHAMPION)
    assert server.heads[-1][1]["Authorization"] == "Bearer t0"


@pytest.mark.parametrize("url", ["http://", "http://a:b:c", "http://ann:secret@host:5000"])
def test_what_is_no_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(OptionError) as raised:
        RestSource(url)
    assert "secret" not in str(raised.value)


def test_a_folder_that_cannot_be_written_is_named(server: Tracking, tmp_path: Path) -> None:
    server.add(artifact(), "7")
    (tmp_path / "file").touch()
    source = RestSource(server.url)
    with pytest.raises(RegistryError, match="cannot be kept in"):
        Cache(tmp_path / "file").fetch(source, source.resolve(CHAMPION))


def test_the_cache_is_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "edgeclf" / "registry"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "edgeclf" / "registry"
