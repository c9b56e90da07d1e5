"""The exponential moving average of a network's weights over the steps of a training."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """average ← decay · average + (1 − decay) · weights, after each step, in float32 on the weights' device.

    Over the first steps the decay is smaller, (1 + n) / (10 + n) after n steps. So the start's weights are soon
    forgotten. What norms have measured is averaged as well.
    """

    def __init__(self, network: nn.Module, decay: float):
        """
        Args:
            network: whose weights are the average before the first step.
            decay: 0 … 1.
        """
        self._weights = _averaged(network)
        self._average = {name: tensor.clone() for name, tensor in self._weights.items()}
        self._decay = decay

    @torch.no_grad()
    def update(self, done: int) -> None:
        """Takes the weights in.

        Args:
            done: steps before this one.
        """
        decay = min(self._decay, (1 + done) / (10 + done))
        torch._foreach_lerp_(list(self._average.values()), list(self._weights.values()), 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """The average by the names of the network's entries."""
        return dict(self._average)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Puts a saved average back.

        Raises:
            KeyError, RuntimeError: it is that of another network.
        """
        for name, tensor in self._average.items():
            tensor.copy_(state[name])


def _averaged(network: nn.Module) -> dict[str, Tensor]:
    """The entries that a detectron2 file holds. They share memory with the network, whose steps change it in place."""
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
