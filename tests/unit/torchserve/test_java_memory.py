"""Java's memory from one budget."""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from tensormask_server.torchserve.java_memory import (
    DIRECT_WASTE,
    HEAP_WASTE,
    MIB,
    JavaMemory,
    default_memory,
    least_memory,
    memory_for,
    within_memory,
)
from tensormask_server.torchserve.memory_sizes import machine_memory, memory_size
from tensormask_server.torchserve.properties import PropertiesError, read_properties
from tensormask_server.torchserve.served_archive import ServedModel, served_model
from tensormask_server.torchserve.worker_memory import COPIES, IMAGE, PROCESS, worker_memory

ROOT = Path(__file__).parents[3]
ALONE = (ServedModel(),)
TWO = (ServedModel(workers=2), ServedModel(batch_size=8, response_timeout=30))
GIB = 1 << 30
SIZES = {"max_request_size": str(64 * MIB), "max_response_size": str(64 * MIB)}


def vmarg(memory: JavaMemory, name: str) -> int:
    """The sizes in Java's options, in bytes."""
    [found] = re.findall(rf"{name}(\d+)m", memory.properties["vmargs"])
    return int(found) * MIB


@pytest.mark.parametrize("models", [ALONE, [ServedModel(workers=4)], [ServedModel(batch_size=8)], TWO])
@pytest.mark.parametrize("budget", [3 * GIB, 4 * GIB, 11 * GIB, 100 * GIB])
def test_what_may_be_held_fits_into_the_budget(budget: int, models: Sequence[ServedModel]) -> None:
    memory = within_memory(SIZES, models, budget)
    heap, direct = vmarg(memory, "-Xmx"), vmarg(memory, "-XX:MaxDirectMemorySize=")
    assert 0.8 * budget < heap + direct < budget
    request, response = int(memory.properties["max_request_size"]), int(memory.properties["max_response_size"])
    in_hand = sum(memory.queue + model.workers * model.batch_size for model in models)  # each model has a queue
    workers = sum(model.workers for model in models)
    assert HEAP_WASTE * (in_hand * request + 2 * workers * response) < heap
    at_work = sum(model.workers * (model.batch_size * request + 2 * response) for model in models)
    assert DIRECT_WASTE * (memory.held_bytes + at_work) < direct
    assert memory.held_bytes >= 4 * response
    assert memory.queue >= 4
    assert memory.queue == int(memory.properties["job_queue_size"])


def test_more_memory_takes_larger_requests_and_then_more_of_them() -> None:
    small, middle, large = (within_memory(SIZES, ALONE, size * GIB) for size in (2, 4, 20))
    assert int(small.properties["max_request_size"]) < 64 * MIB
    assert "--memory gives more" in small.note
    assert f"at most {small.properties['max_request_size']} bytes" in small.note
    assert middle.properties["max_request_size"] == large.properties["max_request_size"] == str(64 * MIB)
    assert not middle.note
    assert small.queue < middle.queue < large.queue <= 100
    assert small.held_bytes < middle.held_bytes < large.held_bytes


@pytest.mark.parametrize("models", [ALONE, [ServedModel(workers=8)], [ServedModel(batch_size=16)], TWO])
def test_the_least_memory_is_enough_and_less_is_refused_with_it(models: Sequence[ServedModel]) -> None:
    least = least_memory(SIZES, models)
    assert int(within_memory(SIZES, models, least).properties["max_request_size"]) >= MIB
    with pytest.raises(PropertiesError, match=rf"expected --memory {least // MIB + 1}m or more"):
        within_memory(SIZES, models, least - 4 * MIB)
    assert default_memory(SIZES, models) >= least


def test_a_default_budget_leaves_what_other_processes_need() -> None:
    machine = machine_memory()
    assert default_memory(SIZES, ALONE, machine - 4 * GIB) == max(4 * GIB, least_memory(SIZES, ALONE))
    assert default_memory(SIZES, TWO, machine) == least_memory(SIZES, TWO)


@pytest.mark.parametrize(
    ("config", "pixels"),
    [
        ("INPUT: {MIN_SIZE_TEST: 400, MAX_SIZE_TEST: 1000}\n", 400 * 1000),
        ("INPUT: {MIN_SIZE_TEST: 1600, MAX_SIZE_TEST: 2666}\n", 4 * 800 * 1333),
        ("INPUT: {MIN_SIZE_TEST: 0, MAX_SIZE_TEST: 1000}\n", 800 * 1333),  # images keep their size
        ("MODEL: {}\n", 800 * 1333),
        ("- of\n- another kind\n", 800 * 1333),
    ],
)
def test_the_memory_of_workers_grows_with_the_weights_and_the_input(tmp_path: Path, config: str, pixels: int) -> None:
    archive = tmp_path / "some.mar"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("config.yaml", config)
        content.writestr("weights.safetensors", bytes(100 * MIB))
    said = worker_memory(archive, ServedModel(workers=2))
    assert said == pytest.approx(2 * (PROCESS + COPIES * 100 * MIB + IMAGE * pixels / (800 * 1333)), rel=1e-6)


def test_an_archive_that_can_not_be_read_has_no_estimate(tmp_path: Path) -> None:
    (tmp_path / "text.mar").write_text("no archive")
    for name in ("absent.mar", "text.mar"):
        assert worker_memory(tmp_path / name, ServedModel()) == 0


def test_a_file_of_the_users_counts_and_ours_is_for_plain_torchserve() -> None:
    properties = read_properties(ROOT / "config.properties")
    theirs = memory_for(properties, ALONE, None, is_ours=False)
    assert theirs.properties == properties  # fits as it is
    assert theirs.queue == 16
    ours = memory_for(properties, ALONE, 20 * GIB, is_ours=True)
    assert ours.queue > theirs.queue
    assert vmarg(ours, "-Xmx") > 2 * GIB
    assert "-Dlog4j2.formatMsgNoLookups=true" in ours.properties["vmargs"]
    both = memory_for(properties, ALONE, 20 * GIB, is_ours=False)  # --memory beats vmargs, and not the queue
    assert both.queue == 16
    assert vmarg(both, "-Xmx") == vmarg(ours, "-Xmx")
    unsaid = memory_for(SIZES, ALONE, None, is_ours=False)
    assert "-Xmx" in unsaid.properties["vmargs"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"vmargs": "-Xmx1g", "job_queue_size": "100"}, r"job_queue_size 100 .* needs a heap of \d+ MiB"),
        ({"vmargs": "-Xmx4g -XX:MaxDirectMemorySize=200m"}, r"need -XX:MaxDirectMemorySize of \d+ MiB, and .* 200 MiB"),
        ({"vmargs": "-Xmxlots"}, "-Xmx in vmargs .* 'lots' is not a size of memory"),
        ({"vmargs": "-Xmx4g", "job_queue_size": "many"}, "job_queue_size is 'many'"),
        ({"vmargs": "-Xmx4g", "job_queue_size": "0"}, "job_queue_size is '0'"),
        ({"vmargs": "-Xmx4g", "max_request_size": "64m"}, "max_request_size is '64m'"),
        ({"vmargs": "-Xmx4g", "max_request_size": "9" * 5000}, "max_request_size is '9{60}' .* from 1 to 2147483647"),
        ({"vmargs": "-Xmx4g", "max_response_size": "2147483648"}, "max_response_size is '2147483648' .* to 2147483647"),
        ({"vmargs": "-Xmx4g", "job_queue_size": "1" * 5000}, "job_queue_size is '1{60}'"),
        ({"vmargs": f"-Xmx{'1' * 5000}g"}, "-Xmx in vmargs .* '1{60}' is not a size of memory"),
        ({"vmargs": "-Xmx200m"}, r"job_queue_size 1 .* needs a heap"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(changed: dict[str, str], said: str) -> None:
    with pytest.raises(PropertiesError, match=said):
        within_memory({**SIZES, **changed}, ALONE, None)


def test_sizes_are_written_as_for_java() -> None:
    assert [memory_size(text) for text in ("4g", "1500M", "2GB", "7", "1t")] == [
        4 * GIB,
        1500 * MIB,
        2 * GIB,
        7,
        1 << 40,
    ]
    for text in ("", "g", "4 g", "0", "-1g", "4gg", "1.5g", "٤g5"):
        with pytest.raises(ValueError, match="expected a whole number with k, m, g or t"):
            memory_size(text)


@pytest.mark.parametrize(
    ("groups", "place", "text", "expected"),
    [
        ("0::/pod/inner\n", "sys/fs/cgroup/pod/memory.max", f"{GIB}\n", GIB),  # an outer one's limit counts too
        ("0::/\n", "sys/fs/cgroup/memory.max", f"{GIB}\n", GIB),
        ("0::/../../host\n", "sys/fs/cgroup/memory.max", f"{GIB}\n", GIB),  # a container's own root
        ("4:memory:/pod\n0::/\n", "sys/fs/cgroup/memory/pod/memory.limit_in_bytes", f"{GIB}\n", GIB),
        ("4:memory:/docker/0a\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{GIB}\n", GIB),
        ("0::/pod\n", "sys/fs/cgroup/pod/memory.max", "max\n", None),
        ("4:memory:/pod\n", "sys/fs/cgroup/memory/pod/memory.limit_in_bytes", f"{1 << 62}\n", None),
    ],
)
def test_a_control_group_limits_the_machines_memory(
    groups: str, place: str, text: str, expected: int | None, tmp_path: Path
) -> None:
    whole = machine_memory(tmp_path)
    for path, content in (("proc/self/cgroup", groups), (place, text)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    assert machine_memory(tmp_path) == (expected or whole)


def test_the_archive_says_how_much_is_worked_on_at_a_time(tmp_path: Path) -> None:
    archive = tmp_path / "some.mar"
    assert served_model(archive) == ServedModel()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("model-config.yaml", "minWorkers: 1\nmaxWorkers: 3\nbatchSize: 8\nresponseTimeout: 7\n")
    assert served_model(archive) == ServedModel(workers=3, batch_size=8, response_timeout=7)
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("model-config.yaml", "- of\n- another kind\n")
    assert served_model(archive) == ServedModel()
