"""Readings of machines made of files: three Jetsons, a laptop, a container, and one where nothing can be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from machine_files import recorded, write

from edgekd.bench.conditions import Conditions, Reading, read_conditions, summarise
from edgekd.bench.gpu import Gpu
from edgekd.bench.machine import Machine, describe_machine
from edgekd.bench.watch import Watch
from edgekd.plain import read_plain


def no_cards() -> tuple[Gpu, ...]:
    return ()


CARD = Gpu("RTX 3060", "550.120", 1425, 66, 48.5, 1000.0, ())


def read(root: Path, cards: Callable[[], tuple[Gpu, ...]] = no_cards) -> Reading:
    return read_conditions(root, cards)


def test_a_jetson_orin(tmp_path: Path) -> None:
    root = write(tmp_path, recorded("orin"))
    machine = describe_machine(root, no_cards)
    assert machine.device == "NVIDIA Jetson AGX Orin Developer Kit" and machine.cpu == "Cortex-A78AE"
    assert (machine.power_mode, machine.board_release) == ("MODE_30W", "Jetson Linux 36.3.0")
    assert machine.clocks_locked is True and machine.cores == 2
    assert machine.flags == ("asimd", "asimdhp", "asimddp")
    assert machine.memory_gib == pytest.approx(61.37, abs=0.01)
    reading = read(root)
    assert (reading.clock_mhz, reading.clock_limit_mhz, reading.gpu_clock_mhz) == (1728, 1728, 624.75)
    assert reading.temperatures == {"cpu-thermal": 47.843, "gpu-thermal": 44.281, "tj-thermal": 48.312}
    assert reading.throttled == 2 and reading.held_back == ()
    assert reading.governors == ("schedutil",) and reading.load == 0.31
    watts = {name: round(value, 3) for name, value in reading.power.rails.items()}
    assert watts == {"VDD_GPU_SOC": 4.77, "VDD_CPU_CV": 1.908, "VIN_SYS_5V0": 4.032, "VDDQ_VDD2_1V8AO": 1.008}


@pytest.mark.parametrize("line", ["<POWER_MODEL ID=2 NAME=15W>", "\t< POWER_MODEL ID=2 NAME=15W OTHER=1 >"])
def test_a_power_mode_is_found_however_its_line_is_set(tmp_path: Path, line: str) -> None:
    files = {**recorded("orin"), "etc/nvpmodel.conf": f"# modes\n< POWER_MODEL ID=0 NAME=MAXN >\n{line}\n"}
    assert describe_machine(write(tmp_path, files), no_cards).power_mode == "15W"


def test_energy_of_an_orin_is_that_of_its_rails_but_the_one_inside_another(tmp_path: Path) -> None:
    """One second at 10.71 W, then one that ends at half the GPU's current: its 4.77 W become 2.385. The memory's
    VDDQ_VDD2_1V8AO is supplied by VIN_SYS_5V0."""
    files = recorded("orin")
    first = read(write(tmp_path, files))
    second = replace(read(tmp_path), when=first.when + 1)
    rail = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/curr1_input"
    third = replace(read(write(tmp_path, {rail: "125\n"})), when=first.when + 2)
    found = summarise([first, second, third])
    assert found.joules == pytest.approx(10.71 + 10.71 - 2.385 / 2)
    assert found.watts["VDD_GPU_SOC"] == pytest.approx((4.77 + (4.77 + 2.385) / 2) / 2)
    assert found.energy_from == "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"


def test_an_orin_nano_that_is_held_back_and_whose_input_is_its_whole_power(tmp_path: Path) -> None:
    root = write(tmp_path, recorded("orin_nano"))
    reading = read(root)
    assert reading.held_back == ("gpu-throttle-alert",)
    assert describe_machine(root, no_cards).clocks_locked is False
    found = summarise([reading, replace(reading, when=reading.when + 2)])
    assert found.joules == pytest.approx(14) and found.energy_from == "VDD_IN"  # 5 V, 1.4 A, 2 s; not all rails: 21 J
    assert found.held_back == ("gpu-throttle-alert",)


def test_a_jetson_xavier(tmp_path: Path) -> None:
    root = write(tmp_path, recorded("xavier"))
    machine = describe_machine(root, no_cards)
    assert (machine.device, machine.power_mode, machine.board_release) == ("Jetson-AGX", "MAXN", "Jetson Linux 32.6.1")
    assert machine.cpu == "Carmel" and machine.clocks_locked is False
    reading = read(root)
    assert reading.gpu_clock_mhz == 318.75
    assert reading.temperatures == {"CPU-therm": 39.5, "GPU-therm": 41.0}  # PMIC-Die is a constant
    assert reading.power.rails == {"GPU": 2.1, "CPU": 0.9, "SOC": 1.5, "CV": 0, "VDDRQ": 0.5, "SYS5V": 2}
    assert summarise([reading, replace(reading, when=reading.when + 1)]).joules == pytest.approx(7)


def test_a_laptop_with_a_card(tmp_path: Path) -> None:
    root = write(tmp_path, recorded("laptop"))
    machine = describe_machine(root, no_cards)
    assert machine.cpu == "12th Gen Intel(R) Core(TM) i7-12700H" and machine.gpus == (
        "NVIDIA GeForce RTX 3060 Laptop GPU",
    )
    assert (machine.driver, machine.turbo, machine.clocks_locked) == ("550.120", True, None)
    assert machine.device == "12th Gen Intel(R) Core(TM) i7-12700H with NVIDIA GeForce RTX 3060 Laptop GPU"
    assert machine.flags == ("avx2", "fma", "f16c", "avx_vnni")
    first = read(root, lambda: (CARD,))
    assert first.throttled == 12 and first.on_battery is False
    assert first.temperatures["x86_pkg_temp"] == 71 and first.temperatures["GPU 0"] == 66
    # The package counted past its end (262143.33 J) to 20 J; the card from 1000 to 1030 J.
    write(root, {"sys/class/powercap/intel-rapl:0/energy_uj": "20000000\n", "sys/class/power_supply/AC/online": "0\n"})
    hot = replace(CARD, joules=1030.0, clock_mhz=900, held_back=("heat (driver)",))
    last = replace(read(root, lambda: (hot,)), when=first.when + 2)
    found = summarise([first, last])
    assert found.joules == pytest.approx(20.328850 + 30)
    assert found.energy_from == "RAPL package-0 + GPU 0"
    assert found.watts["GPU 0"] == pytest.approx(15)
    assert found.on_battery is True and found.held_back == ("GPU: heat (driver)",)
    assert (found.gpu_clock_early_mhz, found.gpu_clock_late_mhz) == (1425, 900)
    assert found.temperature == 71 and found.hottest == "x86_pkg_temp" and found.warmed == 0


def test_a_card_alone_does_not_tell_what_the_machine_takes(tmp_path: Path) -> None:
    """Only root reads RAPL on most systems, and an idle card's watts are not those of a network on the processor."""
    first = read(tmp_path, lambda: (CARD,))
    last = replace(read(tmp_path, lambda: (replace(CARD, joules=1030.0),)), when=first.when + 2)
    found = summarise([first, last])
    assert (found.joules, found.energy_from) == (None, None) and found.watts["GPU 0"] == pytest.approx(15)


def test_a_counter_that_was_reset_gives_no_energy(tmp_path: Path) -> None:
    root = write(tmp_path, {"sys/class/powercap/intel-rapl:0/name": "package-0\n"})
    counter = "sys/class/powercap/intel-rapl:0/energy_uj"
    first = read(write(root, {counter: "5000000\n"}))
    last = replace(read(write(root, {counter: "1000000\n"})), when=first.when + 1)
    assert summarise([first, last]).joules is None


def test_rails_of_a_board_are_not_counted_again_by_its_driver(tmp_path: Path) -> None:
    root = write(tmp_path, recorded("orin_nano"))
    assert "GPU 0" not in read(root, lambda: (CARD,)).power.counters


def test_a_container_with_a_quota_that_throttles(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cpu.max": "150000 100000\n", "sys/fs/cgroup/memory.max": "2147483648\n"}
    before = write(tmp_path / "a", files | {"sys/fs/cgroup/cpu.stat": "usage_usec 5\nnr_throttled 3\n"})
    after = write(tmp_path / "b", files | {"sys/fs/cgroup/cpu.stat": "usage_usec 9\nnr_throttled 10\n"})
    assert describe_machine(before).usable_cores == min(1.5, describe_machine(tmp_path).usable_cores)
    assert describe_machine(before).memory_limit_gib == 2
    assert summarise([read(before), read(after)]).throttled == 7


def test_an_older_container(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",
    }
    machine = describe_machine(write(tmp_path, files))
    assert (machine.usable_cores, machine.memory_limit_gib) == (0.5, 1)
    unlimited = {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
    assert describe_machine(write(tmp_path, unlimited)).memory_limit_gib is None


def test_load_by_others_is_told_apart_from_our_own(tmp_path: Path) -> None:
    """/proc/stat counts hundredths of a second of all processes: 4 s of CPU in 2 s, 1 s of it ours; being
    idle and waiting for a disk are no work."""
    before = read(write(tmp_path / "a", {"proc/stat": "cpu  0 0 0 0 0 0 0 0 0 0\n"}))
    after = read(write(tmp_path / "b", {"proc/stat": "cpu  250 20 90 900 700 10 30 20 0 0\n"}))
    found = summarise([before, replace(after, when=before.when + 2, own=before.own + 1)])
    assert found.others == pytest.approx(1.5) and found.stolen == pytest.approx(0.1)


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    machine, reading = describe_machine(tmp_path, no_cards), read(tmp_path)
    assert machine.device and machine.cores >= 1 and machine.power_mode is None and machine.gpus == ()
    found = summarise([reading, reading])
    assert (found.others, found.throttled, found.temperature, found.governors) == (None, None, None, ())
    assert (found.joules, found.watts, found.on_battery) == (None, {}, None)


@pytest.mark.parametrize("name", ["orin", "xavier", "laptop"])
def test_files_that_are_odd(tmp_path: Path, name: str) -> None:
    odd = dict.fromkeys(recorded(name), "\x00ÿ odd")
    (tmp_path / "proc/driver/nvidia/gpus/0").mkdir(parents=True)
    (tmp_path / "sys/class/thermal/thermal_zone99/temp").mkdir(parents=True)  # a folder in place of a file
    root = write(tmp_path, odd | {"proc/stat": "cpu  a b c\n", "sys/fs/cgroup/cpu.max": "max 100000\n"})
    describe_machine(root, no_cards)
    reading = read(root)
    assert reading.busy is None and reading.power.rails == {} and reading.power.counters == {}


def test_the_machine_is_looked_at_during_a_measurement_and_not_more_often_than_needed(tmp_path: Path) -> None:
    moments = iter([0.0, 0.3, 0.5, 0.9])
    reading = read(tmp_path)
    watch = Watch(lambda: replace(reading, when=next(moments)))
    watch.look()  # the monotonic clock is far beyond 0, so more than a quarter of a second has passed
    watch.look()
    assert watch.conditions().readings == 4
    busy = Watch()
    for _ in range(100):
        busy.look()
    assert busy.conditions().readings == 2


def test_this_machine_and_json() -> None:
    machine = describe_machine()
    assert machine.versions["edgekd"] and machine.usable_cores > 0
    assert read_plain(Machine, json.loads(json.dumps(asdict(machine)))) == machine
    found = summarise([read_conditions(), read_conditions()])
    assert read_plain(Conditions, json.loads(json.dumps(asdict(found), allow_nan=False))) == found
    with pytest.raises((KeyError, TypeError)):
        read_plain(Machine, {**asdict(machine), "cores": "four"})


def test_load_is_that_of_the_cores_this_process_may_use(tmp_path: Path) -> None:
    """Two of four cores are ours by taskset; other programs use one of ours a little and both others fully."""
    idle = "".join(f"cpu{number} 0 0 0 0 0 0 0 0 0 0\n" for number in range(4))
    busy = (
        "cpu0 20 0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\ncpu2 200 0 0 0 0 0 0 0 0 0\ncpu3 200 0 0 0 0 0 0 0 0 0\n"
    )
    roots = [
        write(tmp_path / name, {"proc/stat": f"cpu  {total} 0 0 0 0 0 0 0 0 0\n{lines}intr 1\n"})
        for name, total, lines in (("a", 0, idle), ("b", 420, busy))
    ]
    for allowed, others in ((frozenset((0, 1)), 0.1), (frozenset(range(4)), 2.1)):
        first, last = (read_conditions(root, no_cards, lambda allowed=allowed: allowed) for root in roots)
        found = summarise([replace(first, when=0.0, own=0.0), replace(last, when=2.0, own=0.0)])
        assert (first.cores, found.others) == (len(allowed), pytest.approx(others))


@pytest.mark.parametrize(
    ("files", "throttled"),
    [
        ({"cpu.max": "150000 100000\n", "cpu.stat": "nr_throttled 40\n"}, 40),
        (
            {
                "cpu/cpu.cfs_quota_us": "150000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "cpu/cpu.stat": "nr_throttled 40\n",
            },
            40,
        ),  # cgroup v1
        ({"cpu.stat": "nr_throttled 0\n"}, None),  # the root cgroup's, as on a Raspberry Pi: says nothing about heat
    ],
)
def test_a_quota_that_is_used_up_counts_and_none_is_not_taken_for_heat_that_was_watched(
    tmp_path: Path, files: dict[str, str], throttled: float | None
) -> None:
    files = {f"sys/fs/cgroup/{name}": content for name, content in files.items()}
    assert read(write(tmp_path, {"proc/loadavg": "0.1 0.1 0.1 1/100 42\n", **files})).throttled == throttled


def test_a_raspberry_pi_that_gets_too_little_power_is_held_back(tmp_path: Path) -> None:
    sensor = "sys/class/hwmon/hwmon1"
    root = write(tmp_path, {f"{sensor}/name": "rpi_volt\n", f"{sensor}/in0_lcrit_alarm": "1\n"})
    assert read(root).held_back == ("under-voltage",)
