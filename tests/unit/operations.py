"""What a batch costs a GPU beside arithmetic, counted without one: operations, and returns to the host."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from tensormask_server.network import batched_selection
from tensormask_server.prediction import batched_pasting
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tests.unit.small_network import NO_CHANGES


class Operations(TorchDispatchMode):
    """Counts torch's operations that give new memory or write into it. On a GPU each is a launch, or a few."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        result = func(*args, **(kwargs or NO_CHANGES))
        # a conversion or a reshape gives a view or a copy
        if not func.is_view or not _memory_of(result) <= _memory_of((args, kwargs)):
            self.counts[str(func)] += 1
        return result


def _memory_of(values: Any) -> set[int]:
    return {each.untyped_storage()._cdata for each in pytree.tree_leaves(values) if isinstance(each, Tensor)}


@contextmanager
def recorded_returns(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[np.ndarray]]]:
    """Records what each copy to the host gives."""
    returns: list[list[np.ndarray]] = []
    with monkeypatch.context() as patched:
        for module in (batched_selection, batched_pasting):
            to_host = module.to_host

            def recording(tensors: Sequence[Tensor]) -> list[np.ndarray]:
                returns.append([array.copy() for array in to_host(tensors)])  # noqa: B023  # both are the same function
                return returns[-1]

            patched.setattr(module, "to_host", recording)
        yield returns
