"""A run's video is made of responses to its own frames."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensormask_server.client.progress import progress_bar
from tensormask_server.video.errors import VideoError
from tensormask_server.video.image_folder import open_image_folder
from tensormask_server.video.records import Records
from tensormask_server.video.run import Job, request_frames, write_results


def response_for(width: int, height: int) -> bytes:
    return json.dumps({"instances": [], "width": width, "height": height, "model": "x", "weights_sha256": "0"}).encode()


def test_a_response_for_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "frames" / "1.png")
    job = Job(
        source=open_image_folder(tmp_path / "frames", 25),
        every=1,
        track=False,
        video=tmp_path / "video.mp4",
        table=tmp_path / "video.csv",
        at_once=1,
        request=lambda pixels: response_for(*pixels.shape[:2]),  # height and width are exchanged
        progress=lambda verb, total, done: progress_bar(total, done, "frame", verb),
    )
    with Records(job.video, {}) as records:
        request_frames(job, records)
        with pytest.raises(VideoError, match=r"the response to frame 0 is for 48×64 pixels; expected 64×48.*; delete"):
            write_results(job, records)
    assert not job.video.exists()
