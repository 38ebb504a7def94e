"""What is read of the machine: on trees of files as other machines have them, and on this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeclf.measurement.probes import gpu
from edgeclf.measurement.probes.affinity import choose_cpus
from edgeclf.measurement.probes.energy import InaMeter, RaplMeter, find_energy_meter
from edgeclf.measurement.probes.gpu import GpuMemory, gpu_bytes, gpu_memory
from edgeclf.measurement.probes.machine_state import MachineState, machine_state, throttled
from edgeclf.measurement.probes.page_cache import drop_from_page_cache, files_in_use


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def test_cpus_are_cores_of_their_own_and_not_the_first_one(tmp_path: Path) -> None:
    siblings = {0: "0,4", 1: "1,5", 2: "2-2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6", 7: "3,7"}
    root = tree(
        tmp_path,
        {f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": text
         for cpu, text in siblings.items()},
    )  # fmt: skip
    assert choose_cpus(1, range(8), root) == (3,)
    assert choose_cpus(3, range(8), root) == (1, 2, 3)
    assert choose_cpus(5, range(8), root) == (0, 1, 2, 3, 7)
    assert choose_cpus(2, [0, 4, 5], root) == (0, 5)
    assert choose_cpus(None, [4, 2], root) == choose_cpus(9, [2, 4], root) == (2, 4)


def test_the_fastest_cores_come_first(tmp_path: Path) -> None:
    capacities = {0: 1024, 1: 1024, 2: 446, 3: 446}
    root = tree(
        tmp_path,
        {f"devices/system/cpu/cpu{cpu}/cpu_capacity": n for cpu, n in capacities.items()},
    )
    assert choose_cpus(2, range(4), root) == (0, 1)
    assert choose_cpus(3, range(4), root) == (0, 1, 3)
    assert set(choose_cpus(1)) < os.sched_getaffinity(0) | {-1}


def test_state_of_a_laptop_and_of_a_raspberry_pi(tmp_path: Path) -> None:
    laptop = tree(tmp_path / "laptop", {
        "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": 3_400_000,
        "devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
        "devices/system/cpu/cpu2/cpufreq/scaling_cur_freq": 3_100_000,
        "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": 3,
        "devices/system/cpu/cpu2/thermal_throttle/package_throttle_count": 4,
        "class/thermal/thermal_zone0/type": "acpitz",
        "class/thermal/thermal_zone0/temp": 99_000,
        "class/thermal/thermal_zone1/type": "x86_pkg_temp",
        "class/thermal/thermal_zone1/temp": 61_000,
        "class/hwmon/hwmon3/name": "coretemp",
        "class/hwmon/hwmon3/temp2_input": 64_500,
        "class/hwmon/hwmon4/name": "nvme",
        "class/hwmon/hwmon4/temp1_input": 80_000,
    })  # fmt: skip
    state = machine_state([0, 2], laptop)
    assert state.frequency_mhz == (3400.0, 3100.0) and state.governor == "performance"
    assert state.temperature_c == 64.5 and state.throttle_events == 7
    assert state.throttled_now is None and state.load >= 0
    pi = tree(tmp_path / "pi", {
        "class/thermal/thermal_zone0/type": "cpu-thermal",
        "class/thermal/thermal_zone0/temp": 82_300,
        "devices/platform/soc/soc:firmware/get_throttled": "50005",
    })  # fmt: skip
    hot = machine_state([0], pi)
    assert hot.temperature_c == 82.3 and hot.throttled_now and hot.frequency_mhz is None
    tree(pi, {"devices/platform/soc/soc:firmware/get_throttled": "50000"})  # once, but not now
    assert machine_state([0], pi).throttled_now is False
    nothing = machine_state([0], tmp_path / "nothing")
    assert nothing == MachineState(None, None, None, nothing.load, None, None)


def state(**known: object) -> MachineState:
    nothing: dict[str, object] = {
        "frequency_mhz": None, "governor": None, "temperature_c": None, "load": 0.0,
        "throttle_events": None, "throttled_now": None,
    }  # fmt: skip
    return MachineState(**{**nothing, **known})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, None),
        ({"frequency_mhz": (2000.0, 2000.0)}, {"frequency_mhz": (1900.0, 1750.0)}, False),
        ({"frequency_mhz": (2000.0, 2000.0)}, {"frequency_mhz": (1790.0, 1790.0)}, True),
        ({"throttle_events": 7}, {"throttle_events": 7}, False),
        (
            {"throttle_events": 7, "frequency_mhz": (2000.0,)},
            {"throttle_events": 8, "frequency_mhz": (2000.0,)},
            True,
        ),
        ({"throttled_now": True}, {"throttled_now": False}, False),
        ({"throttled_now": False}, {"throttled_now": True}, True),
    ],
)
def test_throttling(
    before: dict[str, object], after: dict[str, object], expected: bool | None
) -> None:
    assert throttled(state(**before), state(**after)) is expected


def rapl(root: Path, *microjoules: int) -> Path:
    files: dict[str, object] = {
        "class/powercap/intel-rapl:9/name": "psys",  # counts the packages once more
        "class/powercap/intel-rapl:9/energy_uj": 0,
        "class/powercap/intel-rapl:0:0/name": "core",  # a part of package 0
        "class/powercap/intel-rapl:0:0/energy_uj": 0,
    }
    for number, count in enumerate(microjoules):
        zone = f"class/powercap/intel-rapl:{number}"
        files |= {f"{zone}/name": f"package-{number}", f"{zone}/energy_uj": count,
                  f"{zone}/max_energy_range_uj": 9_999_999}  # fmt: skip
    return tree(root, files)


def test_rapl_adds_packages_and_survives_a_full_counter(tmp_path: Path) -> None:
    meter = find_energy_meter(rapl(tmp_path, 1_000_000, 9_000_000))
    assert isinstance(meter, RaplMeter)
    rapl(tmp_path, 3_000_000, 9_500_000)
    assert meter.joules() == 2.5
    rapl(tmp_path, 3_500_000, 1_000_000)  # 0.5 J, and 9.5 to 10, where it starts again, to 1
    assert meter.joules() == 2.5 + 0.5 + 1.5
    assert meter.joules() == 4.5


def test_ina_takes_the_rail_of_the_whole_board(tmp_path: Path) -> None:
    board = "class/hwmon/hwmon1"
    root = tree(tmp_path, {
        f"{board}/name": "ina3221",
        f"{board}/in1_label": "VDD_IN", f"{board}/in1_input": 5000, f"{board}/curr1_input": 2000,
        f"{board}/in2_label": "VDD_CPU", f"{board}/in2_input": 5000, f"{board}/curr2_input": 900,
        f"{board}/in3_label": "gone", f"{board}/in3_input": 5000,
    })  # fmt: skip
    meter = find_energy_meter(root)
    assert isinstance(meter, InaMeter)
    rail = (root / board / "in1_input", root / board / "curr1_input")
    assert meter._rails == [rail]
    now = [0.0]
    meter = InaMeter([rail], clock=lambda: now[0])
    now[0] = 2.0
    assert meter.joules() == 20.0
    tree(root, {f"{board}/curr1_input": 4000})
    now[0] = 3.0
    assert meter.joules() == 20.0 + 15.0
    (root / board / "in1_label").write_text("VDD_A\n")
    rails = find_energy_meter(root)
    assert isinstance(rails, InaMeter) and len(rails._rails) == 2


def test_no_energy_where_nothing_is_readable(tmp_path: Path) -> None:
    assert find_energy_meter(tmp_path) is None
    root = tree(tmp_path, {"class/powercap/intel-rapl:0/name": "package-0"})  # as without root
    assert find_energy_meter(root) is None


_USES = """
import sys, json, decimal
from edgeclf.measurement.probes.page_cache import files_in_use
print(json.dumps(files_in_use()))
"""


def test_files_in_use_are_libraries_and_modules() -> None:
    done = subprocess.run([sys.executable, "-c", _USES], capture_output=True, text=True, check=True)
    assert "/decimal.py" in done.stdout and "page_cache.py" in done.stdout
    assert ".so" in done.stdout and str(Path(sys.executable).resolve()) in done.stdout


def test_dropped_files_have_left_the_page_cache(tmp_path: Path) -> None:
    large, empty = tmp_path / "large", tmp_path / "empty"
    large.write_bytes(os.urandom(8 << 20))
    empty.touch()
    large.read_bytes()
    dropped = drop_from_page_cache([large, empty, tmp_path / "gone"])
    assert dropped.files == 2
    if dropped.share == 0:
        pytest.skip("the file system of the temporary folder is memory")
    assert dropped.share is not None and dropped.share > 0.9
    with pytest.raises(OSError, match="none of the files"):
        drop_from_page_cache([tmp_path / "gone"])
    assert str(Path(os.__file__)) in files_in_use()


_SMI = """#!/bin/sh
case "$1" in
--query-gpu*) printf '1000\\n24\\n' ;;
*) printf '%s, 300\\n77, 500\\n' "$OWN_PID" ;;
esac
"""


def test_gpu_memory_by_the_drivers_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_DRIVER", tmp_path / "nvidiactl")
    assert gpu_memory() is None
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory() is None
    program = tmp_path / "nvidia-smi"
    program.write_text(_SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("OWN_PID", str(os.getpid()))
    assert gpu_memory() == GpuMemory(1024 << 20, 300 << 20)
    monkeypatch.setenv("OWN_PID", "1")
    assert gpu_memory() == GpuMemory(1024 << 20, None)


def test_gpu_bytes_are_the_processes_own_or_the_increase() -> None:
    before, after = GpuMemory(1000, None), GpuMemory(1700, None)
    assert gpu_bytes(before, after) == 700
    assert gpu_bytes(before, GpuMemory(1700, 650)) == 650
    assert gpu_bytes(after, before) == 0
    assert gpu_bytes(None, after) is gpu_bytes(before, None) is None
