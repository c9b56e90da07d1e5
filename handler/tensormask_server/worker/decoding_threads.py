"""Decodes the requests of a batch side by side. Pillow lets go of the interpreter's lock while it decodes."""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Decoded = TypeVar("Decoded")


def in_threads(decode: Callable[[Item], Decoded], items: Sequence[Item], threads: int) -> list[Decoded]:
    """Calls a function for each item.

    Args:
        decode: may be called in several threads at a time.
        items: any number.
        threads: the most to use. With one, or with one item, everything happens in the caller's thread.

    Returns:
        What the function returned for each item, in order.
    """
    if min(threads, len(items)) < 2:
        return [decode(item) for item in items]
    # Warnings' filters are the process's. `image_errors` changes them and puts back what it found, in each thread, so
    # one may put back those of another. Here they are put back when all threads have ended.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(threads, len(items))) as pool:
        warnings.simplefilter("ignore")
        return list(pool.map(decode, items))
