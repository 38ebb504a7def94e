from __future__ import annotations

import pytest

from edgeclf.errors import RegistryError
from edgeclf.inference.classifier import Classifier
from edgeclf.registry.tags import FILE, SHA256, entry_of, file_facts
from edgeclf.trust.certificate import replay
from support.services import artifact


def test_facts_are_the_file_s() -> None:
    accuracy = {"artifact": {"top1": 0.9, "images": 20, "data_sha256": "ab"}}
    made = artifact("shades", "1.2", accuracy=accuracy, training={"data_sha256": "cd"})
    with Classifier(made, runtime="fake") as classifier:
        facts = file_facts(made, "birds", replay(classifier))
    assert facts[SHA256] == made.sha256 and facts[FILE] == "artifacts/birds.fp32.onnx"
    assert facts["edgeclf.labels"] == "3" and facts["edgeclf.precision"] == "fp32"
    assert facts["edgeclf.top1"] == "0.9" and facts["edgeclf.evaluation_sha256"] == "ab"
    assert facts["edgeclf.data_sha256"] == "cd" and facts["edgeclf.model_version"] == "1.2"
    assert facts["edgeclf.certificate"].startswith("held: 3 golden images")
    entry = entry_of("birds", "7", facts)
    assert (entry.sha256, entry.file_name) == (made.sha256, "birds.fp32.onnx")


def test_what_a_file_does_not_know_is_not_said() -> None:
    facts = file_facts(artifact(), "birds", None)
    assert facts["edgeclf.certificate"] == "none"
    assert not {"edgeclf.top1", "edgeclf.data_sha256"} & facts.keys()


@pytest.mark.parametrize(
    "file",
    ["", "birds.onnx", "artifacts/../x.onnx", "artifacts/a/b.onnx", "artifacts/.x.onnx",
     "artifacts/x.pkl", "/artifacts/x.onnx", "artifacts/x.onnx\n"],
)  # fmt: skip
def test_tags_that_lead_elsewhere_are_refused(file: str) -> None:
    with pytest.raises(RegistryError, match="Register the file"):
        entry_of("birds", "7", {SHA256: "a" * 64, FILE: file})
    with pytest.raises(RegistryError):
        entry_of("birds", "7", {SHA256: "A" * 64, FILE: "artifacts/x.onnx"})
