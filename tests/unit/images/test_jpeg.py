"""A JPEG without its end is read as OpenCV reads it if little is missing, and the note says how much."""

import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tensormask_server.images.encoded import EncodedImage
from tensormask_server.images.errors import ImageError
from tensormask_server.images.jpeg import END, MOST_SCANS, MOST_SEGMENTS, lacks_end

HEIGHT, WIDTH = 160, 120
Y, X = np.mgrid[:HEIGHT, :WIDTH]
NOISE = np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH, 3))
RGB = (np.stack([X, Y, X + Y], axis=2) % 200 + NOISE).astype(np.uint8)
KINDS: dict[str, dict[str, object]] = {
    "RGB": {},
    "without subsampling": {"subsampling": 0},
    "with restart markers by rows": {"restart_marker_rows": 1},
    "with restart markers by blocks": {"restart_marker_blocks": 3},
    "optimised": {"optimize": True},
    "grey": {},
    "CMYK": {},
}


def saved(kind: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    mode = {"grey": "L", "CMYK": "CMYK"}.get(kind, "RGB")
    Image.fromarray(RGB).convert(mode).save(file, "JPEG", **{**KINDS.get(kind, {}), **options})
    return file.getvalue()


def as_opencv(content: bytes, folder: Path) -> np.ndarray:
    """OpenCV reads such files, and refuses the same bytes in memory."""
    (folder / "image.jpg").write_bytes(content)
    return cv2.imread(str(folder / "image.jpg"), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", [b"", b"\xff", bytes(5000), b"\xff" * 100])
def test_only_the_marker_is_missing(kind: str, padding: bytes) -> None:
    whole = saved(kind)
    decoded = EncodedImage(whole[:-2] + padding).decoded()
    np.testing.assert_array_equal(decoded.pixels, EncodedImage(whole).decoded().pixels)
    assert decoded.notes == ("the JPEG has no end-of-image marker; its pixels are complete",)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "CMYK"])
@pytest.mark.parametrize("share", [0.85, 0.9, 0.97])
def test_what_is_missing_is_grey_as_opencv_has_it(kind: str, share: float, tmp_path: Path) -> None:
    whole = saved(kind)
    cut = whole[: int(len(whole) * share)]
    decoded = EncodedImage(cut).decoded()
    np.testing.assert_array_equal(decoded.pixels, as_opencv(cut, tmp_path))
    (note,) = decoded.notes
    missing = int(re.search(r"its last (\d+) rows of 160", note)[1])
    complete = EncodedImage(whole).decoded().pixels
    np.testing.assert_array_equal(decoded.pixels[:-missing], complete[:-missing])
    assert np.abs(decoded.pixels[-8:, -8:].astype(int) - 128).max() <= 1


@pytest.mark.parametrize("kind", ["with restart markers by rows", "with restart markers by blocks"])
@pytest.mark.parametrize("marker_too", [0, 2])
def test_a_file_that_ends_at_a_restart_marker_is_not_taken_for_complete(kind: str, marker_too: int) -> None:
    whole = saved(kind)
    complete = EncodedImage(whole).decoded().pixels
    markers = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", whole) if match.start() > 0.85 * len(whole)]
    assert markers
    for position in markers:
        decoded = EncodedImage(whole[: position + marker_too]).decoded()
        missing = int(re.search(r"its last (\d+) rows of 160", decoded.notes[0])[1])
        differs = (decoded.pixels != complete).any(axis=(1, 2))
        assert HEIGHT - int(differs.argmax()) <= missing + 32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.6])
def test_a_file_that_is_cut_far_before_its_end_is_an_error(kind: str, share: float) -> None:
    whole = saved(kind)
    with pytest.raises(ImageError, match=r"can't read the image: the JPEG is cut off, and \d+ of its 160 rows are"):
        EncodedImage(whole[: int(len(whole) * share)]).decoded()


def test_a_progressive_file_is_read_if_its_last_scan_has_begun() -> None:
    whole = saved(progressive=True)
    decoded = EncodedImage(whole[:-2]).decoded()
    np.testing.assert_array_equal(decoded.pixels, EncodedImage(whole).decoded().pixels)
    assert len(decoded.notes) == 1
    last = whole.rindex(b"\xff\xda")
    assert lacks_end(whole[:-10])
    assert not lacks_end(whole[:last])
    for length in (last, last - 20, len(whole) // 2):
        with pytest.raises(ImageError):
            EncodedImage(whole[:length]).decoded()


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 200)])
def test_small_images_are_read_too(size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.fromarray(RGB).resize(size).save(file, "JPEG")
    whole = file.getvalue()
    np.testing.assert_array_equal(EncodedImage(whole[:-2]).decoded().pixels, EncodedImage(whole).decoded().pixels)


def test_a_whole_file_has_no_note() -> None:
    assert EncodedImage(saved()).decoded().notes == ()
    assert EncodedImage(saved() + b"what phones append").decoded().notes == ()


def test_a_preview_with_an_end_does_not_hide_that_the_image_has_none() -> None:
    preview = io.BytesIO()
    Image.fromarray(RGB[:16, :16]).save(preview, "JPEG")
    exif = b"Exif\0\0" + preview.getvalue()
    assert EncodedImage(saved(exif=exif)[:-2]).decoded().notes


@pytest.mark.parametrize("length", [3, 20, 200, 600])
def test_a_file_that_ends_in_its_header_is_an_error(length: int) -> None:
    with pytest.raises(ImageError):
        EncodedImage(saved()[:length]).decoded()


def test_segments_without_end_are_refused() -> None:
    whole = saved()
    with pytest.raises(ImageError, match=f"more than {MOST_SEGMENTS} segments"):
        EncodedImage(whole[:2] + b"\xff\xfe\0\2" * MOST_SEGMENTS + whole[2:])


def test_a_reserved_marker_hides_no_scans() -> None:
    """Where it stands in the place of a restart marker, libjpeg looks for the next marker right behind it."""
    whole = saved("grey", progressive=True)
    header = whole[: whole.index(b"\xff\xda")] + b"\xff\xdd\0\4\0\1"  # restart markers behind each block
    start_of_scan = b"\xff\xda\0\x08\1\1\0\0\0"
    scans = start_of_scan + b"\1" + b"\xff\2\xff\xff" + (start_of_scan + b"\x10") * MOST_SCANS
    with pytest.raises(ImageError, match=f"more than {MOST_SCANS} scans"):
        EncodedImage(header + scans + bytes(1 << 16) + END)
