"""Measures everything and writes tables, CSV and charts to this CPU's folder of bench/results: make bench.

`.venv/bin/python -m bench --only gateway memory` measures a part of it.
"""

import argparse
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench import (
    accuracy,
    around_the_network,
    browser,
    core_time,
    gateway,
    memory,
    mosaic,
    request_profile,
    served,
    stages,
    whole_request,
)
from bench.results import RESULTS, measure_and_publish
from bench.tables import Table

MODULES = (
    accuracy,  # first, as it can't be measured everywhere: it wants npm once
    mosaic,
    whole_request,
    request_profile,
    around_the_network,
    stages,
    core_time,
    memory,
    served,
    gateway,
    browser,
)
MEASURES: dict[str, Callable[[], Table | Iterable[Table]]] = {
    module.__name__.removeprefix("bench."): module.measure for module in MODULES
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures everything, or a part of it.")
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES), metavar="PART")
    parser.add_argument("--results", type=Path, metavar="FOLDER", default=RESULTS, help="(default: %(default)s)")
    parsed = parser.parse_args()
    for name in parsed.only:
        # in a process of its own: what one leaves in memory would slow the next down
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            process.submit(measure_and_publish, MEASURES[name], parsed.results).result()


if __name__ == "__main__":
    main()
