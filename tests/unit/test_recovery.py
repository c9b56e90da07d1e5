"""What TorchServe prints of workers that die, told apart: the next try, and that there won't be one."""

import pytest
from tensormask_server import recovery
from tensormask_server.recovery import Recovery

THREAD = "2026-11-23T15:44:57,316 [{}] {} org.pytorch.serve.wlm.WorkerThread - {}"
FAILED_AGAIN = "Auto recovery failed again"


def change(before: str, now: str, name: str = "W-9000-demo_1.0") -> str:
    return THREAD.format("DEBUG", name, f"{name} State change {before} -> WORKER_{now}")


def retry(name: str = "W-9000-demo_1.0") -> str:
    return THREAD.format("INFO ", name, f"Retry worker: {name[2:6]} in 1 seconds.")


LOADED = [change("null", "STARTED"), change("WORKER_STARTED", "MODEL_LOADED")]
DIED = [change("WORKER_MODEL_LOADED", "STOPPED"), THREAD.format("INFO ", "W-9000-demo_1.0", "Auto recovery start")]
FAILED = [
    change("WORKER_STOPPED", "STARTED"),
    change("WORKER_STARTED", "STOPPED"),
    THREAD.format("WARN ", "W-9000-demo_1.0", FAILED_AGAIN),
]
ANOTHER = [line.replace("9000", "9001") for line in LOADED]


@pytest.mark.parametrize(
    ("lines", "has_ended"),
    [
        ([], False),
        (LOADED, False),
        ([*LOADED, *DIED, retry()], False),
        ([*LOADED, *DIED, retry(), *FAILED, retry()], False),
        ([*LOADED, *DIED, retry(), *FAILED, retry(), *FAILED], True),
        ([*LOADED, *DIED, retry(), *FAILED, *LOADED], False),
        ([*LOADED, *ANOTHER, *DIED, retry(), *FAILED], False),  # the other one works
        ([*LOADED, *ANOTHER, *DIED, retry(), *FAILED, retry("W-9001-demo_1.0")], False),
        ([*LOADED, change("WORKER_MODEL_LOADED", "SCALED_DOWN"), change("WORKER_SCALED_DOWN", "STOPPED")], False),
    ],
)
def test_the_end_is_where_no_worker_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, lines: list[str], has_ended: bool
) -> None:
    monkeypatch.setattr(recovery, "RETRY_SECONDS", -1)
    workers = Recovery()
    for line in lines:
        workers.read(line)
    assert workers.has_ended is has_ended


def test_a_worker_that_has_stopped_just_now_may_be_tried_again() -> None:
    workers = Recovery()
    for line in (*LOADED, *DIED):
        workers.read(line)
    assert not workers.has_ended
