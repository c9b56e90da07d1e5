"""The optimiser and its learning rate over the iterations, from SOLVER."""

import math

import torch
from torch import nn

from training.network import norm_parameters
from training.settings import SolverConfig

OPTIMIZERS = ("sgd", "adamw")


def build_optimizer(network: nn.Module, solver: SolverConfig, name: str) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW; norms have a weight decay of their own."""
    norms = norm_parameters(network)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [each for each in learning if each not in norms], "weight_decay": solver.weight_decay},
        {"params": [each for each in learning if each in norms], "weight_decay": solver.weight_decay_norm},
    ]
    # on a GPU all parameters in a few operations
    fused = any(parameter.device.type == "cuda" for parameter in learning)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=solver.base_lr, fused=fused)
    return torch.optim.SGD(groups, lr=solver.base_lr, momentum=solver.momentum, fused=fused)


def learning_rate(solver: SolverConfig, iteration: int) -> float:
    """Of an iteration, counted from 0: a linear warm-up, times steps or half a cosine."""
    if solver.schedule == "WarmupCosineLR":
        factor = (1 + math.cos(math.pi * iteration / solver.max_iter)) / 2
    else:
        factor = solver.gamma ** sum(iteration >= step for step in solver.steps)
    if iteration < solver.warmup_iters:
        done = iteration / solver.warmup_iters
        factor *= solver.warmup_factor * (1 - done) + done
    return solver.base_lr * factor


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
