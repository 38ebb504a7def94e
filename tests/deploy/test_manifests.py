"""deploy/ says the same everywhere, and what the service can do."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeclf.image import MAX_PIXELS
from edgeclf.service import config as service_config
from edgeclf.service.access import _OPEN
from edgeclf.service.config import ServiceConfig
from edgeclf.service.server import _GRACE_S, _OWN_FILES
from support import deployment
from support.deployment import commands, container, documents, manifest, parsed, unit

STARTED = commands()
PODS = ("kubernetes/deployment.yaml", "kserve/runtime.yaml")
DEPLOYMENT, RUNTIME = PODS


def configured(words: list[str], monkeypatch: pytest.MonkeyPatch, cpus: int = 2) -> ServiceConfig:
    """What the service makes of the words where it may use some CPUs."""
    monkeypatch.setattr(service_config, "available_cpus", lambda: cpus)
    names = {each.name for each in dataclasses.fields(ServiceConfig)}
    return ServiceConfig(**{k: v for k, v in vars(parsed(words)).items() if k in names})


@pytest.mark.parametrize("name", STARTED)
def test_every_command_serves_a_folder_to_those_with_a_key(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(STARTED[name], monkeypatch)
    assert (config.host, config.port) == ("0.0.0.0", 8080)
    assert config.models is not None and config.keys is not None


def test_every_port_is_the_one_it_listens_at() -> None:
    port = str(ServiceConfig().port)
    assert deployment.instruction("EXPOSE") == port
    assert manifest("compose.yaml")["services"]["edgeclf"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    for pod in PODS:
        assert [str(each["containerPort"]) for each in container(pod)["ports"]] == [port]
    (service,) = manifest("kubernetes/service.yaml")["spec"]["ports"]
    names = {each.get("name") for each in container(DEPLOYMENT)["ports"]}
    assert str(service["port"]) == port and service["targetPort"] in names
    (rule,) = manifest("kubernetes/network.yaml")["spec"]["ingress"]
    assert {each["port"] for each in rule["ports"]} <= names
    scraped = manifest(RUNTIME)["spec"]["annotations"]
    assert scraped["prometheus.kserve.io/port"] == port


@pytest.mark.parametrize("pod", PODS)
def test_probes_ask_what_needs_no_key_at_the_containers_port(pod: str) -> None:
    spec = container(pod)
    ports = {each.get("name") for each in spec["ports"]} | {8080}
    probes = {key: value["httpGet"] for key, value in spec.items() if key.endswith("Probe")}
    assert {"readinessProbe", "livenessProbe"} <= probes.keys()
    for name, get in probes.items():
        assert get["port"] in ports and get["path"] in _OPEN
        assert get["path"].endswith("live" if name == "livenessProbe" else "ready")


@pytest.mark.parametrize(
    ("name", "given_s"),
    [
        ("compose.yaml", manifest("compose.yaml")["services"]["edgeclf"]["stop_grace_period"]),
        ("deployment.yaml",
         manifest(DEPLOYMENT)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]),
        ("runtime.yaml", manifest("kserve/inference_service.yaml")["spec"]["predictor"][
            "terminationGracePeriodSeconds"]),
        ("edgeclf.service", unit()["TimeoutStopSec"]),
    ],
)  # fmt: skip
def test_who_stops_it_waits_for_its_last_answer(
    name: str, given_s: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(STARTED[name], monkeypatch)
    assert int(str(given_s).removesuffix("s")) > config.drain_s + config.deadline_s + _GRACE_S


@pytest.mark.parametrize(
    ("name", "cpus"),
    [
        ("compose.yaml", manifest("compose.yaml")["services"]["edgeclf"]["cpus"]),
        ("deployment.yaml", container(DEPLOYMENT)["resources"]["limits"]["cpu"]),
        ("deployment.yaml", container(DEPLOYMENT)["resources"]["requests"]["cpu"]),
        ("runtime.yaml", container(RUNTIME)["resources"]["limits"]["cpu"]),
        ("runtime.yaml", container(RUNTIME)["resources"]["requests"]["cpu"]),
        ("edgeclf.service", int(unit()["CPUQuota"].removesuffix("%")) / 100),
    ],
)
def test_it_has_whole_cpus_for_its_workers_and_their_threads(
    name: str, cpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(STARTED[name], monkeypatch, int(cpus))
    assert config.worker_count * config.threads == float(cpus)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("compose.yaml", manifest("compose.yaml")["services"]["edgeclf"]["mem_limit"]),
        ("deployment.yaml", container(DEPLOYMENT)["resources"]["limits"]["memory"]),
        ("runtime.yaml", container(RUNTIME)["resources"]["limits"]["memory"]),
        ("edgeclf.service", unit()["MemoryMax"]),
    ],
)
def test_memory_holds_all_bodies_and_the_largest_picture_a_worker(
    name: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limit.removesuffix("i").lower() == "1g"
    config = configured(STARTED[name], monkeypatch)
    pictures = config.worker_count * MAX_PIXELS * 3
    assert config.max_held_bytes + pictures + 100_000_000 < 2**30


@pytest.mark.parametrize(
    "files",
    [
        manifest("compose.yaml")["services"]["edgeclf"]["ulimits"]["nofile"],
        unit()["LimitNOFILE"],
        *re.findall(r"nofile=(\d+)", (deployment.DEPLOY / "prove_image.sh").read_text()),
    ],
)
def test_it_may_open_its_connections(files: Any) -> None:
    connections = ServiceConfig().max_connections
    assert int(files) >= connections + connections // 8 + _OWN_FILES


@pytest.mark.parametrize("pod", PODS)
def test_what_it_reads_is_mounted(pod: str) -> None:
    args = parsed(container(pod)["args"][1:])
    mounts = {each["mountPath"]: each for each in container(pod)["volumeMounts"]}
    assert mounts["/tmp"] and mounts[args.keys.rpartition("/")[0]]["readOnly"]
    spec = manifest(pod)["spec"]
    volumes = spec.get("template", {}).get("spec", spec)["volumes"]
    assert {each["name"] for each in volumes} == {each["name"] for each in mounts.values()}
    (secret,) = (each["secret"] for each in volumes if "secret" in each)
    template = manifest("kubernetes/keys.yaml.template")
    assert secret["secretName"] == template["metadata"]["name"]
    assert args.keys.rpartition("/")[2] in template["stringData"]
    # KServe mounts the models itself, and always there.
    assert args.models == "/mnt/models" if pod == RUNTIME else mounts[args.models]["readOnly"]


def test_compose_mounts_what_it_reads() -> None:
    compose = manifest("compose.yaml")
    args = parsed(STARTED["compose.yaml"])
    service = compose["services"]["edgeclf"]
    assert args.keys == f"/run/secrets/{service['secrets'][0]}"
    assert service["volumes"][0].endswith(f":{args.models}:ro")
    for each in compose["services"].values():
        assert set(each.get("secrets", ())) <= compose["secrets"].keys()
        assert set(each["networks"]) <= compose["networks"].keys()
        assert all(port.startswith("127.0.0.1:") for port in each["ports"])
        for volume in each["volumes"]:
            name = volume.partition(":")[0]
            if name.startswith("./"):
                assert (deployment.DEPLOY / name).exists(), name
            else:
                assert name.startswith("${") or name in compose["volumes"]


def test_compose_s_own_configurations_name_its_services_keys_and_folders() -> None:
    services = manifest("compose.yaml")["services"]
    mounted = {
        name: dict(volume.split(":")[:2] for volume in services[name]["volumes"])
        for name in ("prometheus", "grafana")
    }
    for path in sorted((deployment.DEPLOY / "compose").iterdir()):
        assert any(f"./compose/{path.name}" in volumes for volumes in mounted.values())
    prometheus = manifest("compose/prometheus.yml")
    target = mounted["prometheus"]["./compose/prometheus.yml"]
    assert f"--config.file={target}" in services["prometheus"]["command"]
    assert set(prometheus["rule_files"]) <= set(mounted["prometheus"].values())
    (scraped,) = prometheus["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": [f"edgeclf:{ServiceConfig().port}"]}]
    (secret,) = services["prometheus"]["secrets"]
    assert scraped["authorization"] == {"credentials_file": f"/run/secrets/{secret}"}
    (source,) = manifest("compose/datasources.yml")["datasources"]
    published = services["prometheus"]["ports"][0].rpartition(":")[2]
    assert source["url"] == f"http://prometheus:{published}"
    (provider,) = manifest("compose/dashboards.yml")["providers"]
    assert provider["options"]["path"] in mounted["grafana"].values()


def test_every_service_of_compose_is_hardened_and_bounded() -> None:
    for service in manifest("compose.yaml")["services"].values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"] and service["cpus"]


@pytest.mark.parametrize("pod", PODS)
def test_every_pod_is_hardened(pod: str) -> None:
    spec = container(pod)["securityContext"]
    assert spec["readOnlyRootFilesystem"] and spec["allowPrivilegeEscalation"] is False
    assert spec["capabilities"] == {"drop": ["ALL"]}


def test_the_image_has_one_name_and_the_packages_version() -> None:
    project = (deployment.REPOSITORY / "pyproject.toml").read_text()
    (version,) = re.findall(r'^version = "(.+)"', project, re.MULTILINE)
    image = f"edgeclf:{version}"
    assert {container(pod)["image"] for pod in PODS} == {image}
    compose = manifest("compose.yaml")["services"]["edgeclf"]
    assert compose["image"] == f"${{EDGECLF_IMAGE:-{image}}}"
    assert (deployment.DEPLOY / compose["build"]["context"]).resolve() == deployment.REPOSITORY


def test_the_selectors_find_the_pods() -> None:
    pods = manifest(DEPLOYMENT)["spec"]
    labels = pods["template"]["metadata"]["labels"].items()
    assert pods["selector"]["matchLabels"].items() <= labels
    for name, key in (("service", "selector"), ("disruption", "selector"),
                      ("network", "podSelector")):  # fmt: skip
        selector = manifest(f"kubernetes/{name}.yaml")["spec"][key]
        assert selector.get("matchLabels", selector).items() <= labels


def test_it_grows_by_a_metric_that_there_is_and_never_below_what_must_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgeclf.monitoring.metrics import Metrics

    spec = manifest("kubernetes/autoscaler.yaml")["spec"]
    (pods,) = (metric["pods"] for metric in spec["metrics"])
    names = {family.name for family in Metrics().registry.collect()}
    assert pods["metric"]["name"] in names
    config = configured(STARTED["deployment.yaml"], monkeypatch)
    target = int(pods["target"]["averageValue"])
    assert target == 2 * config.worker_count < config.capacity
    assert spec["scaleTargetRef"]["name"] == manifest(DEPLOYMENT)["metadata"]["name"]
    kept = manifest("kubernetes/disruption.yaml")["spec"]["minAvailable"]
    assert kept < spec["minReplicas"] == manifest(DEPLOYMENT)["spec"]["replicas"]


def test_kserve_asks_for_the_runtime_by_its_protocol_and_format() -> None:
    runtime, model = manifest(RUNTIME), manifest("kserve/inference_service.yaml")
    wanted = model["spec"]["predictor"]["model"]
    assert wanted["runtime"] == runtime["metadata"]["name"]
    assert [wanted["protocolVersion"]] == runtime["spec"]["protocolVersions"] == ["v2"]
    (offered,) = runtime["spec"]["supportedModelFormats"]
    assert wanted["modelFormat"].items() <= offered.items()
    volumes = manifest(DEPLOYMENT)["spec"]["template"]["spec"]["volumes"]
    (claim,) = (v["persistentVolumeClaim"]["claimName"] for v in volumes if v["name"] == "models")
    assert wanted["storageUri"].startswith(f"pvc://{claim}/")


def test_nothing_is_applied_that_is_to_be_filled_in() -> None:
    for path in deployment.KUBERNETES:
        kinds = {each["kind"] for each in documents(path)}
        assert ("Secret" in kinds) == (path.suffix == ".template")
    keys = manifest("kubernetes/keys.yaml.template")["stringData"]["keys.txt"]
    assert all(line.startswith("#") for line in keys.splitlines())


def test_systemd_accepts_the_unit_that_is_no_ones_and_writes_nothing(tmp_path: Path) -> None:
    expected = {"DynamicUser": "yes", "ProtectSystem": "strict", "NoNewPrivileges": "yes"}
    assert expected.items() <= unit().items() and "ReadWritePaths" not in unit()
    credential = unit()["LoadCredential"].partition(":")[0]
    keys = parsed(STARTED["edgeclf.service"]).keys
    assert keys == f"${{CREDENTIALS_DIRECTORY}}/{credential}"
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    copy = tmp_path / deployment.UNIT.name
    copy.write_text(deployment.UNIT.read_text().replace("/opt/edgeclf/bin/python", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    remarks = [line for line in done.stderr.splitlines() if copy.name in line]
    assert done.returncode == 0 and remarks == []
