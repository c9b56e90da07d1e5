"""Leaves out packages that a module imports wherever they are installed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def left_out(*names: str) -> Iterator[None]:
    """Within it, importing one of these modules fails as if it weren't installed. What was imported before stays.

    Args:
        names: full names of modules.
    """
    imported = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None: Python's own sign for such a module
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(imported)
