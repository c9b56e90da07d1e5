"""Settings of all tests. Its place here also puts this folder on the path, for `parity` and for what tests share."""

import torch
from hypothesis import settings

# the same examples on each run, so that a failure comes from the change at hand; no deadline: the machine may be busy
settings.register_profile("same-everywhere", derandomize=True, deadline=None)
settings.load_profile("same-everywhere")

# small networks gain nothing from more threads, which on a busy machine wait for each other: five times slower there
torch.set_num_threads(1)
