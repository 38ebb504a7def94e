"""With a real MLflow: in a database, and behind a tracking server."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import edgeclf
from edgeclf.errors import (
    IntegrityError,
    OptionError,
    QualityGateError,
    RegistryError,
    VerificationError,
)
from edgeclf.inference import classifier
from edgeclf.registry import promotion
from edgeclf.registry.address import Address
from edgeclf.registry.rest import RestSource
from edgeclf.registry.source import Cache, open_source
from edgeclf.registry.tags import FILE, PROMOTED, REFUSED, SHA256
from support.services import artifact, lying, serving, shade, write

if TYPE_CHECKING:
    from conftest import TrackingServer

mlflow = pytest.importorskip("mlflow", reason="needs edgeclf[registry]")
pytestmark = [
    pytest.mark.filterwarnings("default"),  # MLflow's own are not ours to repair
    pytest.mark.xdist_group("mlflow"),
]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry in a database, with its files beside it."""
    folder = tmp_path_factory.mktemp("database")
    return f"sqlite:///{folder}/mlflow.db"


def made(number: str, name: str = "shades") -> Any:
    return artifact(name, number, ["dark", "middle", f"bright-{number}"])


def put(found: Any, name: str, uri: str, folder: Path) -> Any:
    return edgeclf.register(write(folder, found), name, tracking_uri=uri, runtime="fake")


def client_of(uri: str) -> Any:
    return mlflow.MlflowClient(uri, uri)


def tags_of(uri: str, name: str, version: str) -> dict[str, str]:
    return dict(client_of(uri).get_model_version(name, version).tags)


def test_what_is_registered_says_what_the_file_knows(uri: str, tmp_path: Path) -> None:
    before = mlflow.get_tracking_uri()
    file = made("1")
    done = put(file, "facts", uri, tmp_path)
    assert (done.name, done.version, done.sha256) == ("facts", "1", file.sha256)
    assert tags_of(uri, "facts", "1") == done.tags
    assert done.tags["edgeclf.certificate"].startswith("held: 3 golden images")
    assert mlflow.get_tracking_uri() == before
    place = client_of(uri).get_model_version_download_uri("facts", "1")
    assert Path(place).is_relative_to(Path(uri.removeprefix("sqlite:///")).parent / "mlruns")
    document = Path(place, "MLmodel").read_text()
    requirements = Path(place, "requirements.txt").read_text()
    assert "edgeclf[onnxruntime]==" in requirements
    for text in (document, requirements, Path(place, "conda.yaml").read_text()):
        assert "/tmp" not in text and str(tmp_path) not in text and place not in text
    assert '"type": "binary"' in document and Path(place, done.tags[FILE]).is_file()
    assert put(made("2"), "facts", uri, tmp_path).version == "2"


def test_a_file_that_does_not_verify_is_not_registered(uri: str, tmp_path: Path) -> None:
    with pytest.raises(VerificationError):
        put(lying(made("1")), "lies", uri, tmp_path)
    assert client_of(uri).search_registered_models("name = 'lies'") == []
    with pytest.raises(OptionError, match="letters"):
        edgeclf.register(write(tmp_path, made("1")), "a/b", tracking_uri=uri)
    with pytest.raises(OptionError, match="sqlite:///FILE"):
        edgeclf.register(write(tmp_path, made("1")), "a", tracking_uri="sqlight:///x",
                         runtime="fake")  # fmt: skip


@pytest.fixture
def model(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What MLflow itself loads of a registered file, answered by the fake runtime."""
    put(made("1"), "loaded", uri, tmp_path)
    plain = classifier.Classifier
    monkeypatch.setattr(classifier, "Classifier", lambda file: plain(file, runtime="fake"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        try:
            yield mlflow.pyfunc.load_model("models:/loaded/1")
        finally:
            mlflow.set_tracking_uri(None)


def test_mlflow_loads_it_and_takes_a_picture_in_every_form(model: Any) -> None:
    import pandas as pd
    from mlflow.pyfunc.scoring_server import invocations

    picture = shade(20)
    text = base64.b64encode(picture).decode()
    rows = model.predict(pd.DataFrame({"image": [picture, shade(128)]}))
    assert [row["label"] for row in rows] == ["dark", "middle"]
    assert rows[0]["sha256"] and 0 < rows[0]["probability"] <= 1
    schema = model.metadata.get_input_schema()
    for body in (
        {"dataframe_split": {"columns": ["image"], "data": [[text]]}},
        {"dataframe_records": [{"image": text}]},
        {"inputs": [text]},
        {"inputs": {"image": [text]}},
        {"instances": [{"image": text}]},
    ):
        answer = invocations(json.dumps(body), "application/json", model, schema)  # as if served
        assert answer.status == 200, (body, answer.response)
        assert [row["label"] for row in json.loads(answer.response)["predictions"]] == ["dark"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"no picture", "Nor is it base64"),
        (base64.b64encode(b"no picture"), "what its base64 stands for"),
        (base64.b64encode(shade(20)) + b"\n!", "Nor is it base64"),
        (7, "is int; expected"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(model: Any, value: object, message: str) -> None:
    code = model.unwrap_python_model()
    with pytest.raises(edgeclf.ImageError, match=message):
        code.predict(None, [shade(20), value])


def test_a_promotion_says_why(uri: str, tmp_path: Path) -> None:
    for number in ("1", "2"):
        put(made(number), "told", uri, tmp_path)
    first = edgeclf.promote("told", 1, tracking_uri=uri, runtime="fake")
    assert (first.before, first.version, first.alias) == (None, "1", "champion")
    second = edgeclf.promote("told", "2", to="champion", tracking_uri=uri, runtime="fake")
    assert second.before == "1" and "names version 2 now, which named version 1" in second.text()
    assert str(client_of(uri).get_model_version_by_alias("told", "champion").version) == "2"
    record = json.loads(tags_of(uri, "told", "2")[f"{PROMOTED}.champion"])
    assert record["before"] == "1" and record["sha256"] == made("2").sha256
    assert [gate["name"] for gate in record["gates"]] == ["certificate", "quality", "latency"]
    with pytest.raises(RegistryError):
        edgeclf.promote("told", 9, tracking_uri=uri, runtime="fake")
    with pytest.raises(RegistryError, match="edgeclf register FILE --name nobody"):
        edgeclf.promote("nobody", 1, tracking_uri=uri)


@pytest.mark.parametrize(
    ("words", "message"),
    [({"version": "seven"}, "its number"), ({"tolerance": 1.5}, "0 to 1"),
     ({"max_p99_ms": 0}, "more than 0"), ({"to": "v1"}, "alias"), ({"name": "a/b"}, "name")],
)  # fmt: skip
def test_what_cannot_be_promoted_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        edgeclf.promote(**{"name": "told", "version": 1, **words})


def test_one_that_fails_a_gate_gets_no_alias(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in ("1", "2"):
        put(made(number), "slow", uri, tmp_path)
    edgeclf.promote("slow", 1, tracking_uri=uri, runtime="fake")
    with pytest.raises(QualityGateError, match=r"still names version 1\. Latency: p99"):
        edgeclf.promote("slow", 2, tracking_uri=uri, runtime="fake", max_p99_ms=1e-6)
    assert str(client_of(uri).get_model_version_by_alias("slow", "champion").version) == "1"
    assert "p99" in tags_of(uri, "slow", "2")[f"{REFUSED}.champion"]
    with monkeypatch.context() as patch:  # another CPU
        patch.setattr(promotion, "judge", lambda *_: [
            promotion.Gate("certificate", False, "an answer is another", {})])  # fmt: skip
        with pytest.raises(VerificationError, match="an answer is another"):
            edgeclf.promote("slow", 2, tracking_uri=uri, runtime="fake")


def test_a_damaged_file_is_not_promoted(uri: str, tmp_path: Path) -> None:
    done = put(made("1"), "damaged", uri, tmp_path)
    place = client_of(uri).get_model_version_download_uri("damaged", "1")
    file = Path(place, done.tags[FILE])
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="damaged or replaced"):
        edgeclf.promote("damaged", 1, tracking_uri=uri, runtime="fake")
    assert client_of(uri).get_registered_model("damaged").aliases == {}


@pytest.mark.parametrize("at", ["before", "after"])
def test_of_two_promotions_at_once_one_notices(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    name = f"raced-{at}"
    for number in ("1", "2"):
        put(made(number), name, uri, tmp_path)

    def somebody_else() -> None:
        client_of(uri).set_registered_model_alias(name, "champion", "1")

    if at == "before":
        judged = promotion.judge
        monkeypatch.setattr(promotion, "judge", lambda *words: (somebody_else(), judged(*words))[1])
    else:
        looks = promotion.current
        seen: list[Any] = []

        def late(*words: Any) -> Any:
            seen.append(words)
            if len(seen) == 3:  # right behind the write
                somebody_else()
            return looks(*words)

        monkeypatch.setattr(promotion, "current", late)
    with pytest.raises(RegistryError, match=r"Somebody else changed .*names version 1"):
        edgeclf.promote(name, 2, tracking_uri=uri, runtime="fake")
    assert str(client_of(uri).get_model_version_by_alias(name, "champion").version) == "1"
    assert f"{PROMOTED}.champion" not in tags_of(uri, name, "2")


def test_a_service_reads_a_database_too(uri: str, tmp_path: Path) -> None:
    put(made("1"), "direct", uri, tmp_path)
    client_of(uri).set_registered_model_alias("direct", "champion", "1")
    source = open_source(uri)
    entry = source.resolve(Address("direct", "champion"))
    assert Cache(tmp_path / "c").fetch(source, entry).read_bytes() == made("1").content
    with pytest.raises(RegistryError):
        source.resolve(Address("direct", "nobody"))


def test_register_promote_serve(
    tracking_server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way by a tracking server, which then goes and comes back."""
    url = tracking_server.url
    for number in ("1", "2"):
        put(made(number), "birds", url, tmp_path)
    edgeclf.promote("birds", 1, tracking_uri=url, runtime="fake")
    entry = RestSource(url).resolve(Address("birds", "champion"))
    assert (entry.version, entry.sha256) == ("1", tags_of(url, "birds", "1")[SHA256])
    words = ("--registry", "models:/birds@champion", "--tracking-uri", url, "--runtime", "fake",
             "--registry-cache", tmp_path / "cache", "--poll", 0.2, "--drain-s", 0)  # fmt: skip
    with serving(*words) as running, httpx.Client(base_url=running.url, timeout=30) as http:

        def version() -> Any:
            answer = http.post("/classify", content=shade(20))
            assert answer.status_code == 200
            return answer.json()["version"]

        def until(holds: Any) -> None:
            end = time.monotonic() + 30
            while not holds():
                assert time.monotonic() < end
                time.sleep(0.02)

        assert version() == "1"
        edgeclf.promote("birds", 2, tracking_uri=url, runtime="fake")
        until(lambda: version() == "2")
        tracking_server.stop()
        reachable = lambda: http.get("/healthz/ready").json()["registry"]["reachable"]  # noqa: E731
        until(lambda: not reachable())
        assert version() == "2" and http.get("/healthz/ready").status_code == 200
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(RegistryError, match="refuses or is away"):
            edgeclf.promote("birds", 1, tracking_uri=url, runtime="fake")
