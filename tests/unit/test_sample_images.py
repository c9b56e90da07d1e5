"""A model's sample images: which folders are read."""

from pathlib import Path

import pytest
from PIL import Image
from tensormask_server.sample_images import MOST_BYTES, MOST_SAMPLES, SampleError, read_samples, write_samples


def write(path: Path) -> Path:
    Image.new("RGB", (8, 6), "red").save(path)
    return path


def test_samples_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("2-as-usual.png", "1-at_its-best.jpg", "cells.webp"):
        write(tmp_path / name)
    (tmp_path / ".hidden").write_text("")
    samples = read_samples(tmp_path)
    assert [each.name for each in samples] == ["1-at_its-best.jpg", "2-as-usual.png", "cells.webp"]
    assert [each.caption for each in samples] == ["at its best", "as usual", "cells"]
    assert [each.media_type for each in samples] == ["image/jpeg", "image/png", "image/webp"]
    assert samples[1].content == (tmp_path / "2-as-usual.png").read_bytes()


def test_written_samples_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    write(tmp_path / "given" / "one.png")
    samples = read_samples(tmp_path / "given")
    write_samples(samples, tmp_path / "copied")
    assert read_samples(tmp_path / "copied") == samples


def test_the_demos_samples_can_be_used() -> None:
    samples = read_samples(Path(__file__).parents[2] / "demo" / "model" / "samples")
    assert [each.caption for each in samples] == ["at its best", "as usual", "at its worst", "a photo"]


@pytest.mark.parametrize("name", ["a b.png", "image.gif", "image.PNG", "image", "<b>.png", "é.png", "-.png"])
def test_a_name_that_cannot_be_used_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89PNG")
    with pytest.raises(SampleError, match="has a name that can't be used; expected letters"):
        read_samples(tmp_path)


def test_another_content_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "image.jpg").rename(tmp_path / "image.png")
    with pytest.raises(SampleError, match="isn't an image of its suffix; expected image/png"):
        read_samples(tmp_path)


def test_what_is_no_file_or_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SampleError, match=r"sample 'folder\.png' can't be read: it is a folder"):
        read_samples(tmp_path)
    (tmp_path / "folder.png").rmdir()
    (tmp_path / "large.png").write_bytes(b"\x89PNG" + bytes(MOST_BYTES))
    with pytest.raises(SampleError, match=f"{MOST_BYTES}"):
        read_samples(tmp_path)


def test_the_number_of_samples_is_limited(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="holds 0 files; expected 1 to"):
        read_samples(tmp_path)
    for number in range(MOST_SAMPLES + 1):
        write(tmp_path / f"{number}.png")
    with pytest.raises(SampleError, match=f"holds {MOST_SAMPLES + 1} files"):
        read_samples(tmp_path)
    with pytest.raises(SampleError, match="can't be read: No such file or directory"):
        read_samples(tmp_path / "nowhere")
