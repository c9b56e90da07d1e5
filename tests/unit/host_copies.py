"""Copies to the host, as a GPU's path makes them, recorded on a CPU."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from tensormask_server.network import batched_selection
from tensormask_server.prediction import batched_pasting, pasting_kernels
from torch import Tensor


@contextmanager
def recorded_returns(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[np.ndarray]]]:
    """Records what each copy to the host gives."""
    returns: list[list[np.ndarray]] = []
    with monkeypatch.context() as patched:
        for module in (batched_selection, batched_pasting, pasting_kernels):
            to_host = module.to_host

            def recording(tensors: Sequence[Tensor]) -> list[np.ndarray]:
                returns.append([array.copy() for array in to_host(tensors)])  # noqa: B023  # both are the same function
                return returns[-1]

            patched.setattr(module, "to_host", recording)
        yield returns
