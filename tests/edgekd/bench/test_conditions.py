"""Machines made of files: a Jetson, a throttled container, and one where nothing can be read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from edgekd.bench.conditions import Change, change, read_conditions
from edgekd.bench.machine import Machine, describe_machine


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


JETSON = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nFeatures\t: fp asimd asimdhp asimddp\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/meminfo": "MemTotal:        7990056 kB\n",
    "proc/loadavg": "0.52 0.58 0.59 1/602 1234\n",
    "proc/stat": "cpu  100 0 100 9000 50 0 10 30 0 0\ncpu0 1 2 3\n",
    "etc/nvpmodel.conf": "< PM_CONFIG DEFAULT=0 >\n< POWER_MODEL ID=0 NAME=15W >\nX 1\n< POWER_MODEL ID=1 NAME=7W >\n",
    "var/lib/nvpmodel/status": "pmode:0001",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1510400\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1510400\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "729600\n",
    "sys/class/devfreq/17000000.ga10b/cur_freq": "624750000\n",
    "sys/class/thermal/thermal_zone0/temp": "48250\n",
    "sys/class/thermal/thermal_zone1/temp": "-256000\n",
    "sys/class/thermal/thermal_zone2/temp": "51500\n",
    "sys/class/thermal/thermal_zone3/temp": "nonsense\n",
}


def test_a_jetson(tmp_path: Path) -> None:
    root = write(tmp_path, JETSON)
    machine = describe_machine(root)
    assert machine.device == "NVIDIA Jetson Orin Nano Developer Kit"
    assert machine.power_mode == "7W"
    assert machine.flags == ("asimd", "asimdhp", "asimddp")
    assert machine.memory_gib == pytest.approx(7.62, abs=0.01)
    reading = read_conditions(root)
    assert (reading.clock_mhz, reading.clock_limit_mhz, reading.gpu_clock_mhz) == (1510.4, 1510.4, 624.75)
    assert reading.temperature == 51.5 and reading.governors == ("schedutil",) and reading.load == 0.52


def test_a_container_with_a_quota_that_throttles(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cpu.max": "150000 100000\n", "sys/fs/cgroup/memory.max": "2147483648\n"}
    before = write(tmp_path / "a", files | {"sys/fs/cgroup/cpu.stat": "usage_usec 5\nnr_throttled 3\n"})
    after = write(tmp_path / "b", files | {"sys/fs/cgroup/cpu.stat": "usage_usec 9\nnr_throttled 10\n"})
    assert describe_machine(before).usable_cores == min(1.5, describe_machine(tmp_path).usable_cores)
    assert describe_machine(before).memory_limit_gib == 2
    assert change(read_conditions(before), read_conditions(after)).throttled == 7


def test_an_older_container(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}
    assert describe_machine(write(tmp_path, files)).usable_cores == 0.5


def test_load_by_others_is_told_apart_from_our_own(tmp_path: Path) -> None:
    """/proc/stat counts hundredths of a second (of all processes); two seconds were used in two, none of them ours."""
    before = read_conditions(write(tmp_path / "a", {"proc/stat": "cpu  0 0 0 0 0 0 0 0 0 0\n"}))
    after = read_conditions(write(tmp_path / "b", {"proc/stat": "cpu  300 0 100 0 0 0 0 20 0 0\n"}))
    moved = {**asdict(after), "when": before.when + 2, "own": before.own + 1}
    found = change(before, type(after)(**moved))
    assert found.others == pytest.approx(1.5) and found.stolen == pytest.approx(0.1)


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    machine, reading = describe_machine(tmp_path), read_conditions(tmp_path)
    assert machine.device and machine.cores >= 1 and machine.power_mode is None and machine.gpus == ()
    found = change(reading, reading)
    assert (found.others, found.throttled, found.temperature_after, found.governors) == (None, None, None, ())


def test_files_that_are_odd(tmp_path: Path) -> None:
    odd = {name: "\0\xff odd" for name in JETSON if not name.endswith("freq")}
    (tmp_path / "proc/driver/nvidia/gpus/0").mkdir(parents=True)
    (tmp_path / "sys/class/thermal/thermal_zone9/temp").mkdir(parents=True)  # a folder where a file should be
    root = write(tmp_path, odd | {"proc/stat": "cpu  a b c\n", "sys/fs/cgroup/cpu.max": "max 100000\n"})
    describe_machine(root)
    assert read_conditions(root).busy is None


def test_an_nvidia_card(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA RTX 4000\nIRQ: 1\n"}
    )
    assert describe_machine(root).gpus == ("NVIDIA RTX 4000",)


def test_this_machine_and_json() -> None:
    machine = describe_machine()
    assert machine.versions["edgekd"] and machine.usable_cores > 0
    assert Machine.from_json(json.loads(json.dumps(machine.to_json()))) == machine
    before = read_conditions()
    found = change(before, read_conditions())
    assert Change.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
