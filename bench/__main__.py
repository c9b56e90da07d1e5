"""Measures everything and writes tables, CSV and charts to this CPU's folder of bench/results: make bench."""

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor

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
from bench.results import publish
from bench.tables import Table

MEASURES: tuple[Callable[[], Table | Iterable[Table]], ...] = (
    accuracy.measure,  # first, as it can't be measured everywhere: it wants npm once
    mosaic.measure,
    whole_request.measure,
    request_profile.measure,
    around_the_network.measure,
    stages.measure,
    core_time.measure,
    memory.measure,
    served.measure,
    gateway.measure,
    browser.measure,
)


def main() -> None:
    for measure in MEASURES:
        # in a process of its own: what one leaves in memory would slow the next down
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            process.submit(run, measure).result()


def run(measure: Callable[[], Table | Iterable[Table]]) -> None:
    publish(measure())


if __name__ == "__main__":
    main()
