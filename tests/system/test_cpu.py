from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeclf.system import cpu


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight CPUs without any quota, whose groups are folders here."""
    (tmp_path / "cgroup").mkdir()
    monkeypatch.setattr(cpu, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(cpu, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_affinity_is_the_limit_without_a_quota(system: Path) -> None:
    assert cpu.available_cpus() == 8
    write(system / "cgroup" / "cpu.max", "max 100000\n")
    assert cpu.available_cpus() == 8


def test_a_container_sees_its_quota_at_the_root(system: Path) -> None:
    write(system / "cgroup" / "cpu.max", "250000 100000\n")
    assert cpu.available_cpus() == 3, "two and a half CPUs keep three threads busy"


def test_a_service_has_its_quota_in_its_own_group(system: Path) -> None:
    write(system / "own", "0::/system.slice/watch.service\n")
    write(system / "cgroup" / "system.slice" / "watch.service" / "cpu.max", "150000 100000\n")
    assert cpu.available_cpus() == 2


def test_the_smallest_quota_above_holds(system: Path) -> None:
    write(system / "own", "0::/a/b\n")
    write(system / "cgroup" / "a" / "b" / "cpu.max", "400000 100000\n")
    write(system / "cgroup" / "a" / "cpu.max", "100000 100000\n")
    assert cpu.available_cpus() == 1


def test_quotas_of_the_first_version(system: Path) -> None:
    write(system / "own", "5:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n")
    folder = system / "cgroup" / "cpu" / "docker" / "x"
    write(folder / "cpu.cfs_quota_us", "200000\n")
    write(folder / "cpu.cfs_period_us", "100000\n")
    assert cpu.available_cpus() == 2
    write(folder / "cpu.cfs_quota_us", "-1\n")
    assert cpu.available_cpus() == 8
