"""Counts torch's operations: what a batch costs a GPU beside arithmetic."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts torch's operations that give new memory or write into it. On a GPU each is a launch, or a few."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        # a conversion or a reshape gives a view or a copy
        if not func.is_view or not _memory_of(result) <= _memory_of((args, kwargs)):
            self.counts[str(func)] += 1
        return result


def _memory_of(values: Any) -> set[int]:
    return {each.untyped_storage()._cdata for each in pytree.tree_leaves(values) if isinstance(each, Tensor)}
