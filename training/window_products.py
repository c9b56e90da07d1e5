"""The products of a map's windows with weights by their entries, in bounded memory."""

from typing import Any

import torch
from torch import Tensor

MOST_NUMBERS = 1 << 27  # of windows that are taken at a time, 512 MB


def window_products(table: Tensor, rows: Tensor, columns: Tensor, weights: Tensor) -> Tensor:
    """For each entry of each window the product of its features with the entry's weights.

    Args:
        table: float32 (L, C), the features of a map's cells.
        rows, columns: int64 (P, M): entry (v, u) of window p is the cell rows[p, v] + columns[p, u].
        weights: float32 (M, M, C).

    Returns:
        float32 (P, M, M). It has gradients by the table and by the weights.
    """
    products: Tensor = _WindowProducts.apply(table, rows, columns, weights)  # type: ignore[no-untyped-call]
    return products


class _WindowProducts(torch.autograd.Function):
    """The windows of features, C times as large as the result, are made again for the gradients, and never kept."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, columns: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(table, rows, columns, weights)
        parts = [
            _taken(table, cells, weights.shape).mul_(weights).sum(dim=3) for cells in _cells(rows, columns, weights)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        table, rows, columns, weights = ctx.saved_tensors
        of_table, of_weights = torch.zeros_like(table), torch.zeros_like(weights)
        parts = _cells(rows, columns, weights)
        for cells, gradient in zip(parts, torch.split(gradients[0], [len(each) for each in parts]), strict=True):
            each = gradient[..., None]
            of_table.index_add_(0, cells.flatten(), (each * weights).flatten(0, 2))
            of_weights += _taken(table, cells, weights.shape).mul_(each).sum(dim=0)
        return of_table, None, None, of_weights


def _cells(rows: Tensor, columns: Tensor, weights: Tensor) -> list[Tensor]:
    """int64 (p, M, M) each, of so many windows as may be taken at a time."""
    most = max(1, MOST_NUMBERS // weights.numel())
    parts = zip(torch.split(rows, most), torch.split(columns, most), strict=True)
    return [row[:, :, None] + column[:, None] for row, column in parts]


def _taken(table: Tensor, cells: Tensor, shape: torch.Size) -> Tensor:
    """float32 (p, M, M, C)."""
    return table.index_select(0, cells.flatten()).view(-1, *shape)
