"""Gradients in the layout of their weights, which fused optimizers want."""

import torch
from torch import nn

from training.network import lay_out_gradients


def test_gradients_get_the_strides_of_their_weights() -> None:
    network = nn.Sequential(nn.Conv2d(4, 6, 1), nn.Conv2d(6, 3, 3))
    of_one, of_three = network[0].weight, network[1].weight
    of_one.grad = torch.randn(6, 4).as_strided((6, 4, 1, 1), (4, 1, 4, 4))
    of_three.grad = torch.randn(3, 6, 3, 3).contiguous(memory_format=torch.channels_last)
    expected = [of_one.grad.clone(), of_three.grad.clone()]
    address = of_one.grad.data_ptr()
    lay_out_gradients(network)
    for weight, gradient in zip((of_one, of_three), expected, strict=True):
        assert weight.grad is not None
        assert weight.grad.stride() == weight.stride()
        assert torch.equal(weight.grad, gradient)
    assert of_one.grad.data_ptr() == address  # without a copy
    assert network[0].bias.grad is None
