"""The machine's state: frequency, governor, temperature, load, and whether it was throttled."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf.system.sysfs import SYS, read_int, read_text

_SLOWER = 0.9  # a frequency below this share of the earlier one counts as throttled
_PI_NOW = 0xF  # bits 0 to 3: under-voltage, capped, throttled, soft temperature limit; all "now"
# Sensors of the processor among all that a machine may have.
_THERMAL_ZONES = ("cpu", "soc", "pkg", "tj")
_HWMON_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


@dataclass(frozen=True)
class MachineState:
    """One look at the machine; None where the kernel does not tell.

    Attributes:
        frequency_mhz: Of each CPU asked for.
        governor: What sets the first one's frequency.
        temperature_c: The processor's highest, in degrees Celsius.
        load: Processes that want to run, the mean of the last minute.
        throttle_events: How often the processor has slowed itself down since the start.
        throttled_now: What a Raspberry Pi's firmware says about this moment.
    """

    frequency_mhz: tuple[float, ...] | None
    governor: str | None
    temperature_c: float | None
    load: float
    throttle_events: int | None
    throttled_now: bool | None


def machine_state(cpus: Sequence[int], sys_folder: Path = SYS) -> MachineState:
    """Looks at the machine.

    Args:
        cpus: Those whose frequency is of interest.
        sys_folder: Where sysfs is mounted.
    """
    folders = [sys_folder / "devices/system/cpu" / f"cpu{cpu}" for cpu in cpus]
    # Not from /proc/cpuinfo: in a virtual machine that frequency never changes.
    khz = [read_int(folder / "cpufreq/scaling_cur_freq") for folder in folders]
    known = tuple(value / 1e3 for value in khz if value is not None)
    return MachineState(
        known or None,
        read_text(folders[0] / "cpufreq/scaling_governor") if folders else None,
        _temperature(sys_folder),
        os.getloadavg()[0],
        _throttle_events(sys_folder),
        _throttled_now(sys_folder),
    )


def throttled(before: MachineState, after: MachineState) -> bool | None:
    """Whether the processor was slowed down between two looks at it, both under load.

    It was if it says so itself, or if the mean frequency fell by more than 10 %.

    Returns:
        None where nothing tells.
    """
    signs = []
    if before.frequency_mhz and after.frequency_mhz:
        first, last = (sum(s.frequency_mhz or ()) for s in (before, after))
        signs.append(last < _SLOWER * first)
    if before.throttle_events is not None and after.throttle_events is not None:
        signs.append(after.throttle_events > before.throttle_events)
    if after.throttled_now is not None:
        signs.append(after.throttled_now)
    return any(signs) if signs else None


def _temperature(sys_folder: Path) -> float | None:
    found = [
        read_int(zone / "temp")
        for zone in (sys_folder / "class/thermal").glob("thermal_zone*")
        if any(word in (read_text(zone / "type") or "").lower() for word in _THERMAL_ZONES)
    ]
    found += [
        read_int(sensor)
        for monitor in (sys_folder / "class/hwmon").glob("hwmon*")
        if read_text(monitor / "name") in _HWMON_SENSORS
        for sensor in monitor.glob("temp*_input")
    ]
    return max((value / 1e3 for value in found if value is not None), default=None)


def _throttle_events(sys_folder: Path) -> int | None:
    files = (sys_folder / "devices/system/cpu").glob("cpu*/thermal_throttle/*_throttle_count")
    counts = [count for count in map(read_int, files) if count is not None]
    return int(sum(counts)) if counts else None


def _throttled_now(sys_folder: Path) -> bool | None:
    text = read_text(sys_folder / "devices/platform/soc/soc:firmware/get_throttled")
    try:
        return None if text is None else bool(int(text, 16) & _PI_NOW)
    except ValueError:
        return None
