"""AVIF and HEIC are read as their encoders were given them. What asks for far more than it shows is refused."""

import io
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pi_heif
import pytest
from PIL import Image
from tensormask_server.images.av1_sizes import coded_frames
from tensormask_server.images.encoded import EncodedImage
from tensormask_server.images.errors import ImageError
from tensormask_server.images.heif_boxes import items, without_metadata, without_movie
from tensormask_server.images.signatures import SIGNATURES

from tests.unit.images.heif_files import Made, box, grid, heif, whole_box, with_box

FILES = Path(__file__).parent / "files"
HEIC = (FILES / "rgb.heic").read_bytes()
Y, X = np.mgrid[0:48, 0:64]
SHOWN = np.stack([4 * X, 5 * Y, np.full_like(X, 90)], axis=-1).astype(np.uint8)


def avif(image: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, "AVIF", speed=10, **{"quality": 95, "subsampling": "4:4:4", **options})
    return content.getvalue()


def opened(content: bytes) -> EncodedImage:
    return EncodedImage(content, tuple(SIGNATURES))


def decoded(content: bytes) -> np.ndarray:
    return opened(content).decoded().pixels


def difference(first: np.ndarray, second: np.ndarray) -> float:
    assert first.shape == second.shape
    return float(np.abs(first.astype(int) - second).mean())


def exif(orientation: int) -> bytes:
    values = Image.Exif()
    values[0x0112] = orientation
    return values.tobytes()


def tiles(content: bytes, number: int, size: tuple[int, int] = (64, 64)) -> dict[int, Made]:
    """The coded image of a file as the items 1 to `number`."""
    (item,) = items(content).values()
    coded = b"av1C" if item.type == "av01" else b"hvcC"
    return {
        each + 1: Made(item.type.encode(), item.content, size, (whole_box(content, coded),)) for each in range(number)
    }


# --- AVIF -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_an_avif_is_read(mode: str) -> None:
    drawn = Image.fromarray(SHOWN).convert(mode)
    found = opened(avif(drawn))
    assert (found.height, found.width) == (48, 64)
    assert difference(found.decoded().pixels, np.asarray(drawn.convert("RGB"))) < 3


def test_what_is_transparent_in_an_avif_is_white() -> None:
    drawn = Image.fromarray(np.dstack([SHOWN, np.where(X < 32, 0, 255).astype(np.uint8)]))
    found = decoded(avif(drawn))
    assert difference(found[:, :28], np.full((48, 28, 3), 255, np.uint8)) < 3
    assert difference(found[:, 36:], SHOWN[:, 36:]) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_once(orientation: int) -> None:
    upright = Image.fromarray(SHOWN)
    turns = [None, None, 0, 3, 1, 5, 4, 6, 2]  # Pillow's transpositions by EXIF's orientation
    turn = turns[orientation]
    expected = upright if turn is None else upright.transpose(Image.Transpose(turn))
    content = avif(upright, exif=exif(orientation))
    assert (b"irot" in content or b"imir" in content) == (orientation > 1)
    assert difference(decoded(content), np.asarray(expected)) < 3


def test_of_an_animated_avif_the_first_image_is_read() -> None:
    frames = [Image.fromarray(np.roll(SHOWN, 20 * each, axis=1)) for each in range(5)]
    content = avif(frames[0], save_all=True, append_images=frames[1:], duration=40)
    assert content[8:12] == b"avis"
    assert difference(decoded(content), SHOWN) < 3


@pytest.mark.parametrize("size", [(1, 1), (64, 48), (127, 300), (512, 256), (1000, 7)])
@pytest.mark.parametrize("frames", [1, 3])
def test_the_coded_size_is_that_of_the_image(size: tuple[int, int], frames: int) -> None:
    drawn = [Image.new("RGB", size, (90 * each, 9, 9)) for each in range(frames)]
    content = avif(drawn[0], save_all=True, append_images=drawn[1:])
    first = items(content)[1]
    assert first.pixels == size[0] * size[1]
    found = coded_frames(first.content, 100)
    assert found.frames == 1
    if frames == 1:
        assert found.pixels == size[0] * size[1]
    else:  # frames of a sequence may have any size of as many bits
        assert size[0] * size[1] <= found.pixels <= 4 * size[0] * size[1]


def test_an_avif_that_is_coded_far_larger_than_it_says_is_refused() -> None:
    content = (FILES / "large.avif").read_bytes()
    assert opened(content).height == 8192
    small = content.replace(struct.pack(">II", 8192, 8192), struct.pack(">II", 64, 64))
    with pytest.raises(ImageError, match="the image has 4096 pixels, and a part of it is coded with 67108864"):
        opened(small)


def test_many_hidden_frames_are_refused() -> None:
    made = tiles(avif(Image.fromarray(SHOWN)), 1)
    many = made[1].content + made[1].content[2:] * 50
    content = heif(b"avif", {1: Made(b"av01", many, (64, 48), made[1].properties)}, 1)
    with pytest.raises(ImageError, match="a part of 51 coded frames; expected at most 16"):
        opened(content)


# --- HEIC -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rgb", "ten_bits", "second_is_primary"])
def test_a_heic_is_read(name: str) -> None:
    found = opened((FILES / f"{name}.heic").read_bytes())
    assert (found.height, found.width) == (48, 64)
    assert difference(found.decoded().pixels, SHOWN) < 4


def test_a_heic_is_turned_once() -> None:
    content = (FILES / "turned.heic").read_bytes()
    assert b"irot" in content
    assert b"Exif" in content
    found = opened(content)
    assert (found.height, found.width) == (64, 48)
    np.testing.assert_array_equal(found.decoded().pixels, np.rot90(decoded(HEIC), -1))


def test_what_is_transparent_in_a_heic_is_white() -> None:
    found = decoded((FILES / "transparent.heic").read_bytes())
    assert difference(found[:, 36:], np.full((48, 28, 3), 255, np.uint8)) < 3
    assert difference(found[:, :28], SHOWN[:, :28]) < 4


def test_without_pi_heif_a_heic_is_named_with_what_to_do() -> None:
    script = (
        "import sys; sys.modules['pi_heif'] = None\n"
        "from pathlib import Path\n"
        "from tensormask_server.images.encoded import EncodedImage\n"
        "try: EncodedImage(Path(sys.argv[1]).read_bytes())\n"
        "except ValueError as error: print(error)"
    )
    command = [sys.executable, "-c", script, FILES / "rgb.heic"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=FILES).stdout
    assert said == (
        "the image is HEIC, and pi-heif isn't installed on the server; expected a JPEG or PNG (heif-convert photo.heic "
        "photo.jpg), or on the server: pip install 'tensormask-segmentation-server[heic]'\n"
    )


# --- grids of tiles, as phones write them -----------------------------------------------------------------------------


def test_a_grid_of_tiles_is_read() -> None:
    square = Image.fromarray(np.pad(SHOWN, [(0, 16), (0, 0), (0, 0)]))
    for content, brand in ((HEIC, b"heic"), (avif(square), b"avif")):  # HEVC of 48 rows is coded with 64
        made = tiles(content, 6)
        tile = decoded(heif(brand, {1: made[1]}, 1))
        assert difference(tile[:48], SHOWN) < 4
        made[9] = Made(b"grid", grid(3, 2, 180, 90), (180, 90), (), (1, 2, 3, 4, 5, 6))
        found = opened(heif(brand, made, 9))
        assert (found.height, found.width) == (90, 180)
        np.testing.assert_array_equal(found.decoded().pixels, np.tile(tile, (2, 3, 1))[:90, :180])


HOSTILE: Mapping[str, tuple[dict[int, Made], int, str]] = {
    "many tiles of a small image": (
        {**tiles(HEIC, 900, (512, 512)), 999: Made(b"grid", grid(30, 30, 64, 48), (64, 48), (), (*range(1, 901),))},
        999,
        "the image has 3072 pixels, and its parts together have 235929600",
    ),
    "parts of parts": (
        {
            **tiles(HEIC, 1),
            8: Made(b"grid", grid(1, 1, 64, 48), (64, 48), (), (1,)),
            9: Made(b"grid", grid(1, 1, 64, 48), (64, 48), (), (8,)),
        },
        9,
        "made of parts that are themselves made of parts",
    ),
    "a part as large as a field": (
        {1: Made(b"hvc1", b"", (100_000, 100_000)), 2: tiles(HEIC, 1)[1]},
        2,
        "a part of it is coded with 10000000000",
    ),
    "another codec": ({1: Made(b"vvc1", b"", (64, 48))}, 1, "HEIF in a codec that isn't read; expected AVIF, HEIC"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_more_work_than_the_size_needs_is_refused(name: str) -> None:
    made, primary, said = HOSTILE[name]
    with pytest.raises(ImageError, match=said):
        opened(heif(b"heic", made, primary))


def _references(kind: bytes, boxes: int, each: int) -> bytes:
    return box(b"iref", bytes(4) + box(kind, struct.pack(">HH", 7, each) + b"\0\1" * each) * boxes)


MANY: Mapping[str, tuple[Sequence[bytes], bytes]] = {
    "properties of unknown items": (
        (b"meta", b"iprp"),
        box(b"ipma", struct.pack(">II", 1 << 24, 20_001) + struct.pack(">IB", 1000, 0) * 20_001),
    ),
    "properties of one item": (
        (b"meta", b"iprp"),
        box(b"ipma", struct.pack(">II", 0, 100) + (struct.pack(">HB", 1, 255) + b"\1" * 255) * 100),
    ),
    "parts in few boxes": ((b"meta",), _references(b"dimg", 2, 12_000)),
    "parts in many boxes": ((b"meta",), _references(b"dimg", 8000, 3)),
    "other references": ((b"meta",), _references(b"cdsc", 2, 12_000)),
}


@pytest.mark.parametrize("name", MANY)
def test_very_many_entries_of_boxes_are_refused(name: str) -> None:
    """Decoders search through all items for each, and so did we."""
    with pytest.raises(ImageError, match="its boxes can't be read"):
        opened(with_box(avif(Image.fromarray(SHOWN)), *MANY[name]))


@pytest.mark.parametrize("first", [10_000, 1])
def test_very_many_items_are_refused_however_few_each_box_names(first: int) -> None:
    """A decoder makes an item of each number in any box."""
    content = avif(Image.fromarray(SHOWN))
    numbers = range(10_000, 12_500)
    uses = b"".join(struct.pack(">HB", number, 0) for number in numbers)
    content = with_box(content, (b"meta", b"iprp"), box(b"ipma", struct.pack(">II", 0, len(numbers)) + uses))
    from_others = [struct.pack(">HHH", first + 2500 + number, 1, first) for number in range(2500)]
    content = with_box(
        content, (b"meta",), box(b"iref", bytes(4) + b"".join(box(b"cdsc", each) for each in from_others))
    )
    with pytest.raises(ImageError, match=r"the image is made of 500[0-9] items; expected at most 4000"):
        opened(content)


def test_decoders_do_not_see_an_animation() -> None:
    frames = [Image.fromarray(SHOWN), Image.fromarray(255 - SHOWN)]
    animated = avif(frames[0], save_all=True, append_images=frames[1:])
    still = without_movie(animated)
    assert len(still) == len(animated)
    assert {b"avis", b"moov"} & {animated[at : at + 4] for at in range(len(animated))} == {b"avis", b"moov"}
    assert not {b"avis", b"moov"} & {still[at : at + 4] for at in range(len(still))}
    with Image.open(io.BytesIO(still)) as image:
        assert getattr(image, "n_frames", 1) == 1
        assert difference(np.asarray(image.convert("RGB")), SHOWN) < 3


def test_very_many_units_of_coded_images_are_refused() -> None:
    units = b"\x12\0" * 1500  # temporal delimiters
    first = tiles(avif(Image.fromarray(SHOWN)), 16)
    more = {number: replace(made, content=units + made.content) for number, made in first.items()}
    with pytest.raises(ImageError, match="far more units than any encoder makes"):
        opened(heif(b"avif", more, 1))


def test_boxes_that_lie_are_refused() -> None:
    meta = HEIC.index(b"meta")
    for start in (b"meta", b"iinf", b"iloc", b"ipco", b"ipma"):
        position = HEIC.index(start)
        for size in (4, 0x7FFFFFFF):
            content = HEIC[: position - 4] + struct.pack(">I", size) + HEIC[position:]
            with pytest.raises(ImageError, match=r"damaged|can't read"):
                decoded(content)
    twice = HEIC + whole_box(HEIC, b"meta")
    with pytest.raises(ImageError, match="its boxes can't be read"):
        opened(twice)
    with pytest.raises(ImageError, match="its boxes can't be read"):
        opened(HEIC[:meta] + b"free" + HEIC[meta + 4 :])
    with pytest.raises(ImageError, match="an animation without a still image"):
        opened(HEIC[:meta] + b"moov" + HEIC[meta + 4 :])


def test_decoders_do_not_see_exif_and_xmp() -> None:
    heic = (FILES / "turned.heic").read_bytes()
    content = avif(Image.fromarray(SHOWN), exif=exif(6), xmp=b"<xmp/>")
    assert pi_heif.open_heif(heic).info["exif"]
    assert not pi_heif.open_heif(without_metadata(heic)).info["exif"]
    with Image.open(io.BytesIO(content)) as image:
        assert image.info.keys() >= {"exif", "xmp"}
    with Image.open(io.BytesIO(without_metadata(content))) as image:
        assert "xmp" not in image.info
        assert dict(image.getexif()) == {0x0112: 6}  # of the boxes irot and imir
