"""A run on Ray: Ray Data gives the missing parts to a pool of actors."""

import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import ray
import ray.util.client
import torch
from ray._private import ray_constants
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError
from ray.util.queue import Queue
from tqdm import tqdm

from tensormask_server.bulk.actor import PartActor, Task
from tensormask_server.bulk.listing import RunError
from tensormask_server.bulk.model import Network
from tensormask_server.bulk.parts import Parts

CLIENT = "ray://"  # the start of an address for Ray's client


@dataclass(frozen=True)
class Pool:
    """The actors of a run."""

    actors: int
    cores: int  # of each
    gpus: int  # of each, 0 or 1


@dataclass(frozen=True)
class Summary:
    """The result of a run."""

    images: int  # without those of earlier runs
    seconds: float  # from the actors' start to the last part
    outside_the_network: float  # 0…1, share of the actors' time; 0 if they had nothing to do


@contextmanager
def ray_cluster(address: str | None) -> Iterator[None]:
    """Connects to a cluster, or starts Ray on this machine, for the time of the context manager.

    Args:
        address: "auto" or "HOST:6379" on a machine of a cluster, "ray://HOST:10001" from elsewhere. None: only this
            machine, for this run.

    Raises:
        RunError: there is no cluster at this address, or it can't be used.
    """
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    # an error is reported in one line; its causes are in Ray's log files
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if address is not None:
        with _connected(lambda: _connect(address, **quiet), address):
            yield
        return
    folder = tempfile.mkdtemp(prefix="ray-", dir=os.environ.get("RAY_TMPDIR"))
    try:
        # in a folder inside it, because Ray gives everybody access to its own folder
        with _connected(lambda: _start(f"{folder}/r", **quiet), "this machine"):
            yield
    except RunError as error:
        raise RunError(f"{error}; Ray's logs are in {folder}") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _connected(connect: Callable[[], None], place: str) -> Iterator[None]:
    """Connects, and disconnects at the end.

    Raises:
        RunError: Ray can't be reached.
    """
    try:
        connect()
    except (OSError, RuntimeError, ValueError, RayError) as error:
        advice = "; set RAY_TMPDIR to a shorter path" if "AF_UNIX" in str(error) else ""
        if place.startswith(CLIENT):
            advice = "; if the cluster requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
        raise RunError(f"can't start Ray at {place}: {_in_one_line(error)}{advice}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _start(folder: str, **options: object) -> None:
    """Starts Ray only for this run. Other machines can't reach it. Other users of this machine have neither its token
    nor its sockets.

    Args:
        folder: where Ray makes its sockets and log files, open to all who can reach it.

    Raises:
        RunError: Ray would listen on other addresses than loopback.
    """
    # by default Ray listens on all addresses, and writes its token to ~/.ray/auth_token, which everybody can read
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # set on every system, because otherwise Ray may replace a loopback address
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for the processes that it starts
    ray_constants.ENABLE_RAY_CLUSTER = False  # this process has read the variable already
    gpus = None if torch.cuda.is_available() else 0  # Ray also counts GPUs that torch can't use
    ray.init("local", _node_ip_address="127.0.0.1", _temp_dir=folder, include_dashboard=False, num_gpus=gpus, **options)
    address = ray.util.get_node_ip_address()
    if not ip_address(address).is_loopback:
        ray.shutdown()
        raise RunError(
            f"Ray {ray.__version__} listens on {address}, not only on loopback; install the version in constraints.txt"
        )


def _connect(address: str, **options: object) -> None:
    """Connects. It tries again if the process that the cluster starts for a client ends early."""
    for _ in range(2):
        try:
            ray.init(address, **options)
            return
        except ConnectionAbortedError:
            time.sleep(1)
    ray.init(address, **options)


def pool_of(actors: int | None, cores: int, on_gpus: bool) -> Pool:
    """Plans one actor for each GPU of the cluster. Without GPUs, it is one for each `cores` cores of a node.

    Args:
        actors: the largest number of actors. None: as many as fit.
        cores: of each actor.
        on_gpus: whether the network can run on GPUs.

    Raises:
        RunError: no node has so many cores.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(resources.get("GPU", 0)) for resources in nodes) if on_gpus else 0
    most = gpus or sum(int(resources.get("CPU", 0)) // cores for resources in nodes)
    if most == 0:
        raise RunError(f"no node of the cluster has {cores} cores; give fewer with --cores")
    return Pool(min(actors or most, most), cores, min(gpus, 1))


def write_parts(parts: Parts, network: Network, pool: Pool) -> Summary:
    """Writes every missing part. Ray has to be connected.

    Args:
        parts: of the run.
        network: of the run.
        pool: the actors.

    Raises:
        RunError: parts can't be written. Those that were written stay.
    """
    finished = parts.finished()  # read again, because a killed command's run may have continued in the cluster
    missing = [part for part in range(len(parts)) if part not in finished]
    task = Task(parts.folder, ray.put(network), pool.cores, pool.gpus > 0)
    images, spent, in_network, started = 0, 0.0, 0.0, time.perf_counter()
    earlier = sum(parts.rows(part) for part in finished)
    with tqdm(total=parts.images, initial=earlier, unit="image", smoothing=0) as progress:
        for done in _written(missing, task, pool) if missing else ():
            images += int(done["images"])
            spent += done["seconds"]
            in_network += done["network_seconds"]
            progress.update(int(done["images"]))
    seconds = time.perf_counter() - started
    lost = len(parts) - len(parts.finished())
    if lost:
        raise RunError(f"{lost} of {len(parts)} parts aren't in {parts.folder}; all nodes have to share it")
    return Summary(images, seconds, 1 - in_network / spent if spent else 0.0)


def _written(missing: list[int], task: Task, pool: Pool) -> Iterator[dict[str, float]]:
    """What the actors return, in the order in which they finish."""
    through_client = ray.util.client.ray.is_connected()
    try:
        yield from (_in_the_cluster if through_client else _by_ray_data)(missing, task, pool)
    except RayError as error:
        raise RunError(f"the run stopped: {_in_one_line(error)}") from error


def _by_ray_data(missing: list[int], task: Task, pool: Pool) -> Iterator[dict[str, float]]:
    context = DataContext.get_current()
    context.enable_progress_bars = False  # tqdm shows the progress in images
    context.print_on_execution_start = False
    context.max_consecutive_actor_init_deaths = 3  # one of them may be a node's fault
    # one block for each part is one task for each part, which Ray repeats if an actor or its node is lost
    numbers = ray.data.from_items([{"part": part} for part in missing], override_num_blocks=len(missing))
    written = numbers.map(
        PartActor,
        fn_constructor_args=(task,),
        compute=ActorPoolStrategy(size=min(pool.actors, len(missing))),
        num_cpus=pool.cores,
        num_gpus=pool.gpus,
    )
    yield from written.iter_rows()


def _in_the_cluster(missing: list[int], task: Task, pool: Pool) -> Iterator[dict[str, float]]:
    """As `_by_ray_data`, but through Ray's client, where Ray Data works only in a task that the client starts."""
    written = Queue(actor_options={"num_cpus": 0})
    # without retries, which would report parts twice
    running = ray.remote(num_cpus=0, max_retries=0)(_report).remote(written, missing, task, pool)
    while not ray.wait([running], timeout=1)[0] or not written.empty():
        yield from written.get_nowait_batch(written.qsize())
    ray.get(running)


def _report(written: Queue, missing: list[int], task: Task, pool: Pool) -> None:
    for done in _by_ray_data(missing, task, pool):
        written.put(done)


def _in_one_line(error: BaseException) -> str:
    """Our own line in an error of Ray, which also holds all causes, and advice on retries."""
    name = f"{RunError.__module__}.{RunError.__name__}: "
    lines = str(error).strip().splitlines()
    ours = [line for line in lines if line.startswith(name)]
    return (ours or lines or [type(error).__name__])[-1].strip().removeprefix(name)
