"""A folder of images is a video in the order of their names."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensormask_server.video.errors import VideoError
from tensormask_server.video.frames import Damage
from tensormask_server.video.image_folder import open_image_folder

from tests.unit.video.videos import picture


def test_images_are_frames_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        Image.fromarray(picture(number)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "more").mkdir()
    source = open_image_folder(tmp_path, rate=10)
    frames = list(source.read(Damage()))
    assert [source.seconds(frame.pts) for frame in frames] == [0, 0.1, 0.2]
    for frame, number in zip(frames, (1, 2, 10), strict=True):
        np.testing.assert_array_equal(frame.pixels, picture(number))
    assert (source.width, source.height, source.expected, source.duration) == (128, 96, 3, 0.3)


def test_exif_turns_an_image(tmp_path: Path) -> None:
    image = Image.fromarray(picture(0))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned clockwise by 90°
    image.save(tmp_path / "1.png", exif=exif)
    [frame] = open_image_folder(tmp_path, rate=25).read(Damage())
    np.testing.assert_array_equal(frame.pixels, np.rot90(picture(0), -1))


def test_a_damaged_image_is_named_and_its_time_stays_empty(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:80])
    damage = Damage()
    [frame] = open_image_folder(tmp_path, rate=25).read(damage)
    assert (frame.index, frame.pts, damage.frames) == (2, 2, ["0.png", "1.png"])


def test_other_images_in_the_same_place_are_another_video(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    before = open_image_folder(tmp_path, rate=25).fingerprint
    Image.fromarray(picture(1)).save(tmp_path / "1.png")
    assert open_image_folder(tmp_path, rate=25).fingerprint != before


def test_a_folder_that_is_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="has no frames; expected images that end in"):
        open_image_folder(tmp_path, rate=25)
    (tmp_path / "0.png").write_text("text")
    with pytest.raises(VideoError, match=r"none of the 1 images in .* can be read"):
        open_image_folder(tmp_path, rate=25)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "0.png")
    with pytest.raises(VideoError, match=r"0.png has more than 8 bits a channel; expected 8 bits"):
        open_image_folder(tmp_path, rate=25)


def test_only_formats_of_image_names_are_read(tmp_path: Path) -> None:
    """Pillow would read others under these names, and some of those by running a program."""
    Image.fromarray(picture(0)).save(tmp_path / "1.png", "PPM")
    Image.fromarray(picture(0)).save(tmp_path / "2.jpg", "EPS")
    with pytest.raises(VideoError, match=r"none of the 2 images in .* can be read"):
        open_image_folder(tmp_path, rate=10)
