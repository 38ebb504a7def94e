from __future__ import annotations

from pathlib import Path

import pytest

from edgeclf.cli import main
from edgeclf.errors import OptionError
from edgeclf.service.probe import probe
from support.services import artifact, serving, write


def test_it_tells_a_service_that_is_ready_from_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving("--runtime", "fake", write(tmp_path, artifact())) as running:
        assert main(["serve", "--probe", running.url]) == 0
        port = running.url.rpartition(":")[2]
        assert main(["serve", "--probe", "--port", port]) == 0
        assert capsys.readouterr().err == ""
        assert "answers 404" in str(probe(f"{running.url}/nothing"))
    assert main(["serve", "--probe", running.url]) == 1
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["", "https://127.0.0.1:8080", "http://", "http://[", "127.0.0.1:x"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match="expected one as"):
        probe(url)
