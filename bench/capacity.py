"""How many machines so many images a day take, and what they cost: python -m bench.capacity

Computed from what was measured (bench/results/core_time.csv, served.csv) and from what you know yourself: prices, the
size of a machine, how uneven the day is, and how fast your GPU is.
"""

import argparse
import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tensormask_server.arguments import whole_number

from bench.tables import Table

RESULTS = Path(__file__).parent / "results"
SECONDS_A_DAY = 86_400
GPU_NETWORK = "published R50, bfloat16"  # whose milliseconds on a GPU are asked for
AROUND = ("decode", "resize", "masks", "encode", "TorchServe")


@dataclass(frozen=True)
class Workload:
    """What an image costs."""

    network: str
    pixels: str
    milliseconds: Mapping[str, float]  # of one core, by stage
    kilobytes: float  # of request and response together


@dataclass(frozen=True)
class Machine:
    """What one has, and what an hour of it costs."""

    cores: int
    gigabits: float  # a second, of its network card
    hour: float
    gpu_milliseconds: float | None = None  # that its GPU takes for an image; None: it has none

    def rates(self, workload: Workload) -> dict[str, float]:
        """Images a second that each part could do if nothing else held it up.

        The cores are shared by the stages, so that those are one part; on a GPU the network is another.
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
    """How a day is spread."""

    name: str
    peak: float  # the busiest hour's images over the mean hour's
    load: float  # of a machine's rate that is used at the peak; the less, the shorter the queue

    def machines(self, images_a_day: float, rate: float) -> int:
        return math.ceil(images_a_day / SECONDS_A_DAY * self.peak / (rate * self.load))


def main() -> None:
    for table in tables(_parser().parse_args()):
        table.show()


def tables(parsed: argparse.Namespace) -> list[Table]:
    """What saturates first, and machines and their cost."""
    machine = Machine(parsed.cores, parsed.gigabits, parsed.cores * parsed.core_hour)
    kinds = {"CPU": machine}
    if parsed.gpu_ms:
        hour = parsed.gpu_hour + machine.hour
        kinds["GPU"] = Machine(parsed.cores, parsed.gigabits, hour, parsed.gpu_ms)
    uses = (Use("online", parsed.peak, parsed.load), Use("bulk", 1, parsed.bulk_load))
    workloads = read_workloads(RESULTS)
    return [shares(workloads), saturation(workloads, kinds), cost(workloads, kinds, uses, parsed.images)]


def read_workloads(results: Path) -> list[Workload]:
    """The rows of core_time.csv, each with what TorchServe takes of a request from a lone client."""
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
        "Where an image's time goes, on cores alone",
        ("network", "pixels", "images/s a core", *(f"{stage}, %" for stage in stages)),
        "with TorchServe's part as a lone client waits for it",
    )
    for each in workloads:
        whole = sum(each.milliseconds.values())
        parts = (f"{100 * each.milliseconds[stage] / whole:.1f}" for stage in stages)
        table.rows.append((each.network, each.pixels, 1000 / whole, *parts))
    return table


def saturation(workloads: Sequence[Workload], kinds: Mapping[str, Machine]) -> Table:
    columns = list(dict.fromkeys(part for kind in kinds.values() for part in kind.rates(workloads[0])))
    table = Table(
        "saturation",
        "What is full first: images a second that each part of a machine could do",
        ("network", "pixels", "machine", *columns, "full first"),
        "; ".join(f"{name}: {_described(machine)}" for name, machine in kinds.items()),
    )
    for each in workloads:
        for name, machine in _fitting(kinds, each):
            rates = machine.rates(each)
            cells = [rates.get(column, "") for column in columns]
            table.rows.append((each.network, each.pixels, name, *cells, min(rates, key=lambda part: rates[part])))
    return table


def cost(
    workloads: Sequence[Workload], kinds: Mapping[str, Machine], uses: Sequence[Use], days: Sequence[float]
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
        for name, machine in _fitting(kinds, each):
            rate = min(machine.rates(each).values())
            counts = [use.machines(images, rate) for use in uses for images in days]
            most = max(days)
            costs = [use.machines(most, rate) * machine.hour * 24 / most * 1e6 for use in uses]
            table.rows.append((each.network, each.pixels, name, *counts, *costs))
    return table


def _fitting(kinds: Mapping[str, Machine], workload: Workload) -> list[tuple[str, Machine]]:
    """The kinds of machine whose time for this network is known."""
    return [
        (name, machine)
        for name, machine in kinds.items()
        if machine.gpu_milliseconds is None or workload.network == GPU_NETWORK
    ]


def _described(machine: Machine) -> str:
    gpu = f"a GPU that takes {machine.gpu_milliseconds:g} ms an image, " if machine.gpu_milliseconds else ""
    return f"{gpu}{machine.cores} cores, {machine.gigabits:g} Gbit/s, {machine.hour:g} an hour"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    add = parser.add_argument
    add("--images", type=_positive, nargs="+", default=[1e6, 1e9], help="a day (default: %(default)s)")
    add("--cores", type=whole_number(1), default=32, help="of a machine (default: %(default)s)")
    add("--gigabits", type=_positive, default=10, help="a second, of its network card (default: %(default)s)")
    add("--core-hour", type=_positive, default=0.04, help="what a core costs an hour (default: %(default)s)")
    add("--gpu-ms", type=_positive, help="what your GPU takes for an image by the published R50; without: no GPU")
    add("--gpu-hour", type=_positive, default=2.5, help="what a GPU costs an hour (default: %(default)s)")
    add("--peak", type=_positive, default=3, help="the busiest hour over the mean one, online (default: %(default)s)")
    add("--load", type=_share, default=0.6, help="how busy machines may be at the peak (default: %(default)s)")
    add("--bulk-load", type=_share, default=0.95, help="the same where nobody waits (default: %(default)s)")
    return parser


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is too little; expected a number above 0")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; expected a number above 0, to 1")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number that can be counted with")
    return value


if __name__ == "__main__":
    main()
