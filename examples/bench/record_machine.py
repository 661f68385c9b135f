"""Records what a bench reads of this machine, for adding to tests/edgekd/bench/machines.

    python examples/bench/record_machine.py > mine.txt

It reads only the files named here: no serial number, no address, no host name. Where RAPL needs root, use sudo.
"""

from __future__ import annotations

import argparse
from pathlib import Path

PATTERNS = (
    "proc/cpuinfo",
    "proc/device-tree/model",
    "proc/meminfo",
    "proc/loadavg",
    "proc/stat",
    "proc/driver/nvidia/gpus/*/information",
    "etc/nv_tegra_release",
    "etc/nvpmodel.conf",
    "var/lib/nvpmodel/status",
    "sys/module/nvidia/version",
    "sys/fs/cgroup/cpu.max",
    "sys/fs/cgroup/cpu.stat",
    "sys/fs/cgroup/cpu/cpu.stat",
    "sys/fs/cgroup/cpu/cpu.cfs_*_us",
    "sys/fs/cgroup/memory/memory.limit_in_bytes",
    "sys/class/hwmon/hwmon*/name",
    "sys/class/hwmon/hwmon*/in0_lcrit_alarm",
    "sys/fs/cgroup/memory.max",
    "sys/devices/system/cpu/intel_pstate/no_turbo",
    "sys/devices/system/cpu/cpufreq/boost",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_*_freq",
    "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count",
    "sys/class/devfreq/*/*_freq",
    "sys/class/thermal/thermal_zone*/type",
    "sys/class/thermal/thermal_zone*/temp",
    "sys/class/thermal/cooling_device*/type",
    "sys/class/thermal/cooling_device*/cur_state",
    "sys/class/hwmon/hwmon*/oc[0-9]*_event_cnt",
    "sys/class/power_supply/*/type",
    "sys/class/power_supply/*/online",
    "sys/class/powercap/intel-rapl:*/name",
    "sys/class/powercap/intel-rapl:*/energy_uj",
    "sys/class/powercap/intel-rapl:*/max_energy_range_uj",
    "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/*_label",
    "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/*_input",
    "sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*",
    "sys/bus/i2c/drivers/ina3221x/*/iio:device*/in_power*_input",
    "sys/bus/i2c/drivers/ina238/*/hwmon/hwmon*/power1_input",
)
_CPUINFO = ("processor", "model name", "cpu MHz", "flags", "Features", "CPU implementer", "CPU part", "Hardware")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    root = Path("/")
    for pattern in PATTERNS:
        for path in sorted(root.glob(pattern)):
            try:
                text = path.read_text(errors="replace")
            except OSError:
                continue
            if path.name == "cpuinfo":
                text = "".join(f"{line}\n" for line in text.splitlines() if line.split(":")[0].strip() in _CPUINFO)
            escaped = text.replace("\n", "\\n").replace("\t", "\\t").replace("\0", "\\0")
            print(f"{path.relative_to(root)} = {escaped}")


if __name__ == "__main__":
    main()
