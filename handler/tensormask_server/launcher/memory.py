"""The memory of a server with several models, which is added up and said before anything starts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tensormask_server.printable import say
from tensormask_server.torchserve.java_memory import JavaMemory, memory_for
from tensormask_server.torchserve.memory_sizes import machine_memory
from tensormask_server.torchserve.properties import PropertiesError
from tensormask_server.torchserve.served_archive import ServedModel, model_name
from tensormask_server.torchserve.worker_memory import worker_memory

GIB = 1 << 30


def planned_memory(
    properties: Mapping[str, str],
    archives: Sequence[Path],
    models: Sequence[ServedModel],
    budget: int | None,
    *,
    is_ours: bool,
) -> JavaMemory:
    """Divides Java's memory as `memory_for` does. With several models it counts the workers' memory, too, and says it.

    Args:
        properties, models, budget, is_ours: as for `memory_for`.
        archives: of the models, in their order.

    Raises:
        PropertiesError: there is too little memory, or a value isn't a size.
    """
    if len(archives) == 1:
        return memory_for(properties, models, budget, is_ours=is_ours)
    parts = [worker_memory(archive, model) for archive, model in zip(archives, models, strict=True)]
    memory = memory_for(properties, models, budget, is_ours=is_ours, beside=sum(parts))
    if not all(parts):
        return memory  # an archive can't be read: the check before the start says why
    listed = ", ".join(f"{model_name(archive)} {part / GIB:.1f}" for archive, part in zip(archives, parts, strict=True))
    workers, java, machine = (size / GIB for size in (sum(parts), memory.total_bytes, machine_memory()))
    if workers + java > machine:
        raise PropertiesError(
            f"the workers take about {workers:.1f} GiB ({listed}) and Java up to {java:.1f} GiB, more than the "
            f"{machine:.1f} GiB of this machine; expected fewer models or workers, or a smaller --memory"
        )
    say(f"Memory: about {workers:.1f} GiB for workers ({listed}), up to {java:.1f} GiB for Java, of {machine:.1f} GiB")
    return memory
