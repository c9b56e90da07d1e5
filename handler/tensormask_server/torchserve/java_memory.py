"""Divides Java's memory. The heap, direct memory, the queue and the largest request follow from one budget in bytes.

TorchServe holds a body in direct memory while it arrives, and in the heap while it waits for a worker. It holds a
response in both while it sends it, and in direct memory until the client has read it. If direct memory is full, Java
waits half a second for each allocation, and loses a worker.

Only the workers that the archive starts with are counted. Those that the management API adds have no share.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensormask_server.torchserve.memory_sizes import machine_memory, memory_size
from tensormask_server.torchserve.properties import DEFAULT_SIZE, PropertiesError, number_property
from tensormask_server.torchserve.served_archive import ServedModel

MIB = 1 << 20
OUTSIDE = 300 * MIB  # Java's code, classes and threads, in neither the heap nor direct memory (measured: 190 MiB)
HEAP_SHARE = 3 / 8  # of the rest; direct memory has the remainder
HEAP_BASE = 128 * MIB  # of the heap: TorchServe's own objects
HEAP_WASTE = 1.25  # large arrays take whole regions of the heap, next to each other
DIRECT_WASTE = 1.35  # Netty's pieces of a body (measured: 5.4 GB for 4.2 GB of bodies)
FILLED = 0.85  # of the clients' direct memory; the rest is for what arrives between two looks of the guard
LEAST_QUEUE, MOST_QUEUE = 4, 100  # requests; MOST_QUEUE is TorchServe's own default
LEAST_CLIENTS = 4  # bodies or responses of the largest size for which direct memory has room
LEAST_REQUEST = MIB
MOST_MEMORY = 32 << 30  # bytes: room for 100 waiting requests of 64 MiB and 190 that arrive
SIZES = ("-Xmx", "-Xms", "-XX:MaxDirectMemorySize=")  # of vmargs
CHUNKS = (
    "-Dio.netty.allocator.maxOrder="  # 9: pieces of 4 MiB; in Netty's own, of 16, a body of 9 MiB takes a whole one
)


@dataclass(frozen=True)
class JavaMemory:
    """How a budget is divided."""

    properties: dict[str, str]  # of config.properties, with the sizes
    queue: int  # requests that may wait for one model
    held_bytes: int  # of all bodies that arrive and all responses that aren't read yet, together
    response_bytes: int  # of one response, at most
    total_bytes: int  # of the heap, direct memory, and what is in neither
    note: str = ""  # one line about what is smaller than in config.properties


def has_memory(properties: Mapping[str, str]) -> bool:
    """Whether `vmargs` in the properties sets the largest size of Java's heap."""
    return any(each.startswith("-Xmx") for each in properties.get("vmargs", "").split())


def without_memory(properties: Mapping[str, str]) -> dict[str, str]:
    """The properties without the values that follow from a budget: Java's sizes in `vmargs`, and `job_queue_size`."""
    vmargs = [each for each in properties.get("vmargs", "").split() if not each.startswith(SIZES)]
    others = {key: value for key, value in properties.items() if key != "job_queue_size"}
    return {**others, "vmargs": " ".join(vmargs)}


def memory_for(
    properties: Mapping[str, str],
    models: Sequence[ServedModel],
    budget: int | None,
    *,
    is_ours: bool,
    beside: int = 0,
) -> JavaMemory:
    """Decides on the budget, and divides it as `within_memory` does.

    Args:
        properties: of config.properties.
        models: the settings of the models that are served.
        budget: bytes that the user lets Java take. None: the user gives no number.
        is_ours: whether the properties are this project's own, whose sizes are for plain torchserve.
        beside: bytes that other processes need, if they are known: a default budget leaves them free.

    Returns:
        As `within_memory`.

    Raises:
        PropertiesError: there is too little memory, or a value isn't a size.
    """
    if is_ours:
        properties = without_memory(properties)
    if budget is None and not has_memory(properties):
        budget = default_memory(properties, models, beside)
    return within_memory(properties, models, budget)


def within_memory(properties: Mapping[str, str], models: Sequence[ServedModel], budget: int | None) -> JavaMemory:
    """Divides Java's memory.

    Args:
        properties: of config.properties.
        models: the settings of the models that are served.
        budget: bytes that Java may take. None: the sizes in `vmargs` of the properties count.

    Returns:
        The properties with `vmargs` and `job_queue_size`. A `job_queue_size` that they had is kept. With a budget
        `vmargs` has the sizes that follow from it, and a `max_request_size` that doesn't fit is reduced.

    Raises:
        PropertiesError: there is too little memory, or a value isn't a size.
    """
    request = number_property(properties, "max_request_size", DEFAULT_SIZE)
    response = number_property(properties, "max_response_size", DEFAULT_SIZE)
    vmargs = properties.get("vmargs", "").split()
    if budget is None:
        heap = _option(vmargs, "-Xmx") or machine_memory() // 4  # as Java's own default
        direct = _option(vmargs, "-XX:MaxDirectMemorySize=") or heap
        queue = _queue(properties, heap, request, response, models)
        if direct < _direct(LEAST_CLIENTS, request, response, models):
            needed = _direct(LEAST_CLIENTS, request, response, models)
            raise PropertiesError(
                f"max_request_size {request} and max_response_size {response} need -XX:MaxDirectMemorySize of "
                f"{_mib(needed)} MiB, and vmargs has {_mib(direct)} MiB in TorchServe's properties (by default as "
                "much as -Xmx); raise it, or give --memory, which computes it"
            )
        changed = {**properties, "job_queue_size": str(queue)}
        return JavaMemory(changed, queue, _held(direct, request, response, models), response, heap + direct + OUTSIDE)

    heap = int((budget - OUTSIDE) * HEAP_SHARE)
    direct = budget - OUTSIDE - heap
    largest = min(request, _fitting_request(heap, direct, response, models))
    if largest < min(request, LEAST_REQUEST):
        needed = least_memory(properties, models)
        raise PropertiesError(
            f"{_mib(budget)} MiB of memory are too little for Java with {_loads(models)}, and max_response_size "
            f"{response}; expected --memory {_mib(needed) + 1}m or more, fewer workers, or a smaller "
            "max_response_size (and --max-response-bytes of the archive)"
        )
    queue = _queue(properties, heap, largest, response, models)
    kept = [each for each in vmargs if not each.startswith(SIZES)]
    computed = [f"-Xmx{_mib(heap)}m", f"-XX:MaxDirectMemorySize={_mib(direct)}m"]
    if not any(each.startswith(CHUNKS) for each in kept):
        computed.append(f"{CHUNKS}9")
    changed = {**properties, "vmargs": " ".join(computed + kept)}
    changed |= {"job_queue_size": str(queue), "max_request_size": str(largest)}
    note = ""
    if largest < request:
        note = (
            f"Java may take {_mib(budget)} MiB: requests have at most {largest} bytes, and not the {request} of "
            "max_request_size in TorchServe's properties; --memory gives more"
        )
    return JavaMemory(changed, queue, _held(direct, largest, response, models), response, budget, note)


def _queue(properties: Mapping[str, str], heap: int, request: int, response: int, models: Sequence[ServedModel]) -> int:
    """The job_queue_size of the properties if it fits. Without one in the properties, as many requests as fit.

    Each model has a queue of this size.
    """
    fitting = int((heap / HEAP_WASTE - HEAP_BASE - _at_work(request, response, models)) // (request * len(models)))
    wanted = number_property(properties, "job_queue_size", max(1, min(MOST_QUEUE, fitting)))
    if wanted > fitting:
        raise PropertiesError(
            f"job_queue_size {wanted} with max_request_size {request} and max_response_size {response} needs a heap of "
            f"{_mib(_heap(wanted, request, response, models))} MiB, and Java has one of {_mib(heap)} MiB: lower "
            "one of them in TorchServe's properties, or raise --memory (without it -Xmx in vmargs counts)"
        )
    return wanted


def least_memory(properties: Mapping[str, str], models: Sequence[ServedModel]) -> int:
    """The smallest budget, in bytes, with which requests of 1 MiB can be served."""
    request, response = (
        min(LEAST_REQUEST, number_property(properties, "max_request_size", DEFAULT_SIZE)),
        number_property(properties, "max_response_size", DEFAULT_SIZE),
    )
    heap = _heap(LEAST_QUEUE, request, response, models)
    direct = _direct(LEAST_CLIENTS, request, response, models)
    return OUTSIDE + MIB + math.ceil(max(heap / HEAP_SHARE, direct / (1 - HEAP_SHARE)))


def default_memory(properties: Mapping[str, str], models: Sequence[ServedModel], beside: int = 0) -> int:
    """The budget, in bytes, if the user gives none: half of the machine's memory, since the workers need some too.

    It is at most 32 GiB, and leaves `beside` bytes free, but it is never less than Java needs.
    """
    machine = machine_memory()
    return max(min(machine // 2, machine - beside, MOST_MEMORY), least_memory(properties, models))


def _at_work(request: float, response: int, models: Sequence[ServedModel]) -> float:
    """Bytes in the heap, and as many in direct memory, for what the workers process. Responses are copied once."""
    return sum(model.workers * (model.batch_size * request + 2 * response) for model in models)


def _heap(queue: int, request: int, response: int, models: Sequence[ServedModel]) -> int:
    return math.ceil(HEAP_WASTE * (HEAP_BASE + len(models) * queue * request + _at_work(request, response, models)))


def _direct(clients: int, request: int, response: int, models: Sequence[ServedModel]) -> int:
    return math.ceil(DIRECT_WASTE * (clients * max(request, response) / FILLED + _at_work(request, response, models)))


def _fitting_request(heap: int, direct: int, response: int, models: Sequence[ServedModel]) -> int:
    """The largest request in bytes that leaves room for the least queue and the fewest clients; below 1 if none."""
    parallel = sum(model.workers * model.batch_size for model in models)
    in_heap = (heap / HEAP_WASTE - HEAP_BASE - _at_work(0, response, models)) / (len(models) * LEAST_QUEUE + parallel)
    free = direct / DIRECT_WASTE - _at_work(0, response, models)
    in_direct = min(
        (free - LEAST_CLIENTS * response / FILLED) / parallel,  # if responses are larger than requests
        free / (LEAST_CLIENTS / FILLED + parallel),
    )
    return int(min(in_heap, in_direct))


def _held(direct: int, request: int, response: int, models: Sequence[ServedModel]) -> int:
    return int(FILLED * (direct / DIRECT_WASTE - _at_work(request, response, models)))


def _loads(models: Sequence[ServedModel]) -> str:
    """The workers and batches of each model, for an error message."""
    return " and ".join(f"{model.workers} workers, batches of {model.batch_size}" for model in models)


def _option(vmargs: list[str], name: str) -> int | None:
    """The bytes of the last option of this name, which Java uses. None: there is no such option."""
    sizes = [each.removeprefix(name) for each in vmargs if each.startswith(name)]
    if not sizes:
        return None
    try:
        return memory_size(sizes[-1])
    except ValueError as error:
        raise PropertiesError(f"{name} in vmargs of TorchServe's properties: {error}") from error


def _mib(size: int) -> int:
    return size // MIB
