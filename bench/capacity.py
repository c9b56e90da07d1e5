"""Computes how many machines a number of images a day needs, and their cost: python -m bench.capacity

It uses the measurements in core_time.csv and served.csv of a CPU's folder in bench/results. You know the rest yourself:
prices, the size of a machine, how uneven the day is, and how fast your GPU is.
"""

import argparse
import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tensormask_server.arguments import whole_number

from bench.tables import Table

MEASURED = Path(__file__).parent / "results" / "intel-xeon-amx-bf16"
SECONDS_A_DAY = 86_400
GPU_NETWORK = "published R50, bfloat16"  # the network of --gpu-ms
AROUND = ("decode", "resize", "masks", "encode", "TorchServe")


@dataclass(frozen=True)
class Workload:
    """The cost of an image."""

    network: str
    pixels: str
    milliseconds: Mapping[str, float]  # of one core, by stage
    kilobytes: float  # of request and response together


@dataclass(frozen=True)
class Machine:
    """A machine and its cost."""

    cores: int
    gigabits: float  # a second, of its network card
    hour: float  # the cost of an hour
    gpu_milliseconds: float | None = None  # of its GPU, for an image; None: it has no GPU

    def rates(self, workload: Workload) -> dict[str, float]:
        """Images a second that each part of the machine can process if the others are fast enough.

        The stages share the cores, so all of them together are one part. With a GPU, the network is another part.
        """
        around = sum(workload.milliseconds[stage] for stage in AROUND)
        network_card = self.gigabits * 1e9 / 8 / (1000 * workload.kilobytes)
        if self.gpu_milliseconds is None:
            on_cores = around + workload.milliseconds["network"]
            return {"cores": 1000 * self.cores / on_cores, "network card": network_card}
        return {
            "GPU": 1000 / self.gpu_milliseconds,
            "cores": 1000 * self.cores / around,
            "network card": network_card,
        }


@dataclass(frozen=True)
class Use:
    """How the images of a day are distributed over it."""

    name: str
    peak: float  # the busiest hour's images over the mean hour's
    load: float  # the share of a machine's rate that is used at the peak; a lower one means a shorter queue

    def machines(self, images_a_day: float, rate: float) -> int:
        return math.ceil(images_a_day / SECONDS_A_DAY * self.peak / (rate * self.load))


def main() -> None:
    for table in tables(_parser().parse_args()):
        table.show()


def tables(parsed: argparse.Namespace) -> list[Table]:
    """The shares of the stages, the part that saturates first, and the machines with their cost."""
    machine = Machine(parsed.cores, parsed.gigabits, parsed.cores * parsed.core_hour)
    machines = {"CPU": machine}
    if parsed.gpu_ms:
        hour = parsed.gpu_hour + machine.hour
        machines["GPU"] = Machine(parsed.cores, parsed.gigabits, hour, parsed.gpu_ms)
    uses = (Use("online", parsed.peak, parsed.load), Use("bulk", 1, parsed.bulk_load))
    workloads = read_workloads(parsed.measured)
    return [shares(workloads), saturation(workloads, machines), cost(workloads, machines, uses, parsed.images)]


def read_workloads(results: Path) -> list[Workload]:
    """Reads the rows of core_time.csv, and adds TorchServe's time for a request of a single client."""
    with (results / "served.csv").open(newline="") as file:
        served = [float(row["of p50 not in the handler, ms"]) for row in csv.DictReader(file) if row["clients"] == "1"]
    with (results / "core_time.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Workload(
            row["network"],
            row["pixels"],
            {name.removesuffix(", ms"): float(value) for name, value in row.items() if name.endswith(", ms")}
            | {"TorchServe": min(served)},
            float(row["request, kB"]) + float(row["response, kB"]),
        )
        for row in rows
    ]


def shares(workloads: Sequence[Workload]) -> Table:
    stages = ("network", *AROUND)
    table = Table(
        "shares",
        "Where an image's time goes, with cores only",
        ("network", "pixels", "images/s a core", *(f"{stage}, %" for stage in stages)),
        "with TorchServe's part as a lone client waits for it",
    )
    for each in workloads:
        whole = sum(each.milliseconds.values())
        parts = (f"{100 * each.milliseconds[stage] / whole:.1f}" for stage in stages)
        table.rows.append((each.network, each.pixels, 1000 / whole, *parts))
    return table


def saturation(workloads: Sequence[Workload], machines: Mapping[str, Machine]) -> Table:
    columns = list(dict.fromkeys(part for each in machines.values() for part in each.rates(workloads[0])))
    table = Table(
        "saturation",
        "What is full first: images a second that each part of a machine could do",
        ("network", "pixels", "machine", *columns, "full first"),
        "; ".join(f"{name}: {_described(machine)}" for name, machine in machines.items()),
    )
    for each in workloads:
        for name, machine in _fitting(machines, each):
            rates = machine.rates(each)
            cells = [rates.get(column, "") for column in columns]
            table.rows.append((each.network, each.pixels, name, *cells, min(rates, key=lambda part: rates[part])))
    return table


def cost(
    workloads: Sequence[Workload], machines: Mapping[str, Machine], uses: Sequence[Use], days: Sequence[float]
) -> Table:
    table = Table(
        "cost",
        "Machines, and what a million images cost",
        (
            "network",
            "pixels",
            "machine",
            *(f"{use.name}, {images:,.0f} a day" for use in uses for images in days),
            *(f"{use.name}, cost of a million" for use in uses),
        ),
        "; ".join(f"{use.name}: peak {use.peak:g} × the mean, machines {use.load:.0%} busy then" for use in uses)
        + "; the cost is that of the most images a day, with all machines paid around the clock",
    )
    for each in workloads:
        for name, machine in _fitting(machines, each):
            rate = min(machine.rates(each).values())
            counts = [use.machines(images, rate) for use in uses for images in days]
            most = max(days)
            costs = [use.machines(most, rate) * machine.hour * 24 / most * 1e6 for use in uses]
            table.rows.append((each.network, each.pixels, name, *counts, *costs))
    return table


def _fitting(machines: Mapping[str, Machine], workload: Workload) -> list[tuple[str, Machine]]:
    """The machines whose time for this network is known."""
    return [
        (name, machine)
        for name, machine in machines.items()
        if machine.gpu_milliseconds is None or workload.network == GPU_NETWORK
    ]


def _described(machine: Machine) -> str:
    gpu = f"a GPU that takes {machine.gpu_milliseconds:g} ms an image, " if machine.gpu_milliseconds else ""
    return f"{gpu}{machine.cores} cores, {machine.gigabits:g} Gbit/s, {machine.hour:g} an hour"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    add = parser.add_argument
    add("--measured", type=Path, metavar="FOLDER", default=MEASURED, help="of a CPU (default: %(default)s)")
    add("--images", type=_positive, nargs="+", default=[1e6, 1e9], help="images a day (default: %(default)s)")
    add("--cores", type=whole_number(1), default=32, help="cores of a machine (default: %(default)s)")
    add("--gigabits", type=_positive, default=10, help="Gbit/s of a machine's network card (default: %(default)s)")
    add("--core-hour", type=_positive, default=0.04, help="cost of a core for an hour (default: %(default)s)")
    add(
        "--gpu-ms", type=_positive, help="milliseconds of your GPU for an image, by the published R50 (default: no GPU)"
    )
    add("--gpu-hour", type=_positive, default=2.5, help="cost of a GPU for an hour (default: %(default)s)")
    add(
        "--peak",
        type=_positive,
        default=3,
        help="images of the busiest hour over the mean hour's, online (default: %(default)s)",
    )
    add(
        "--load",
        type=_share,
        default=0.6,
        help="share of the machines' time that is used at the peak, online (default: %(default)s)",
    )
    add("--bulk-load", type=_share, default=0.95, help="the same for bulk, where nobody waits (default: %(default)s)")
    return parser


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is too small; expected a number above 0")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; expected a number above 0, at most 1")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not finite; expected a finite number")
    return value


if __name__ == "__main__":
    main()
