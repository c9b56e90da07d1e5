"""Bodies that once crashed the parser, or cost far more memory or time than they have bytes: one case each."""

import io
import json
import struct
import zlib

import pytest
from PIL import Image
from tensormask_server.bad_request import BadRequest
from tensormask_server.options import Limits
from tensormask_server.requests.parsing import parse_request

PIXEL = "[[[1]], [[2]], [[3]]]"
DIGITS = "9" * 400  # more than a float holds
SIDE = "9" * 4000  # two of these multiplied have more digits than Python writes out
KEYS = ",".join(f'"{number}":0' for number in range(300_000))


def inputs(shape: str) -> str:
    return f'{{"inputs": [{{"datatype": "UINT8", "shape": {shape}, "data": [1]}}]}}'


BODIES = {
    "a threshold of 400 digits": (f'{{"img_data": {PIXEL}, "score_threshold": {DIGITS}}}', "score_threshold is 999"),
    "a count of 400 digits": (f'{{"img_data": {PIXEL}, "max_detections": -{DIGITS}}}', "max_detections is -999"),
    "a class of 400 digits": (f'{{"img_data": {PIXEL}, "classes": [{DIGITS}]}}', "classes has 999"),
    "a class of 400 digits in a text": (f'{{"img_data": {PIXEL}, "classes": "{DIGITS}"}}', 'classes has "999'),
    "a shape whose product has 8000 digits": (inputs(f"[{SIDE}, {SIDE}, 3]"), r"shape \[999"),
    "a shape of very many sides": (inputs(f"[{'4294967295,' * 400_000}3]").replace("UINT8", "BYTES"), "inputs"),
    "a shape of very many sides and a -1": (inputs(f"[{'4294967295,' * 400_000}-1]"), r"shape \["),
    "a shape that is nested deep": (inputs("[" * 900 + "]" * 900), r"shape \[a JSON array\]"),
    "an id that UTF-8 can't write": ('{"inputs": [{}], "id": "\\ud800"}', "id is"),
    "an object of rows as an image": ('{"img_data": {"00": [[], [], []]}}', "img_data"),
    "a lone surrogate": ("\ud800", "nor JSON"),
    "a key of 7 MB, near a known one": (f'{{"{"img_dat" * 1_000_000}": 1}}', "unknown key"),
    "the last of many keys twice": (f'{{{KEYS}, "299999": 0}}', 'key "299999" twice'),
    "many keys beside img_data": (f'{{{KEYS}, "img_data": {PIXEL}}}', 'unknown key "0"'),
    "many classes": (f'{{"img_data": {PIXEL}, "classes": [{"0," * 1_000_000}0]}}', "classes has 1000001 entries"),
    "many empty lists": (f'{{"image": [{"[]," * 3_000_000}[]]}}', "has 3000005 lists, objects and quotation marks"),
    "many empty objects": (f'{{"image": [{"{}," * 3_000_000}{{}}]}}', "has 3000005 lists, objects and quotation marks"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_a_bad_request(name: str) -> None:
    body, said = BODIES[name]
    with pytest.raises(BadRequest, match=said):
        parse_request({"body": body}, {}, Limits(), ("cat", "dog"), 100)


def tiff_of_one_tile(tile_side: int, tile: bytes) -> bytes:
    """16×16 grey pixels in one compressed tile."""
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile_side, 323: tile_side, 324: 8, 325: len(tile)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(tile)) + tile + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_a_tiff_with_tiles_far_larger_than_itself_is_refused() -> None:
    """The decoder would make the whole tile, a gigabyte from a megabyte."""
    within = tiff_of_one_tile(1024, zlib.compress(bytes(1024 * 1024)))
    assert parse_request({"body": within}, {}, Limits(), ("cat",)).items[0].image.shape == (16, 16, 3)
    with pytest.raises(BadRequest, match="16×16 pixels, has tiles of 32768×32768"):
        parse_request({"body": tiff_of_one_tile(32768, b"")}, {}, Limits(), ("cat",))


def progressive_jpeg(last_scan_again: int, between: bytes = b"") -> bytes:
    content = io.BytesIO()
    Image.new("L", (8, 8), 128).save(content, "JPEG", progressive=True)
    jpeg = content.getvalue()
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + (between + last) * last_scan_again + jpeg[-2:]


def test_a_jpeg_with_scans_without_end_is_refused() -> None:
    """Each scan goes over the whole image again: a few MB would take hours."""
    assert parse_request({"body": progressive_jpeg(80)}, {}, Limits(), ("cat",)).items
    # a marker without a length, then what would be one: nothing is hidden by it
    for between in (b"", b"\xff\x01\xff\xff", b"\xff\xd0\xff\xff\xff"):
        with pytest.raises(BadRequest, match="more than 100 scans"):
            parse_request({"body": progressive_jpeg(100, between)}, {}, Limits(), ("cat",))


def test_what_follows_a_jpeg_is_no_scan_of_it() -> None:
    """Phones append videos to their images."""
    jpeg = progressive_jpeg(0) + b"\xff\xda\0\2" * 200
    assert parse_request({"body": jpeg}, {}, Limits(), ("cat",)).items


def test_an_image_without_pixels_is_refused() -> None:
    content = io.BytesIO()
    Image.new("RGB", (1, 1)).save(content, "BMP")
    bmp = bytearray(content.getvalue())
    bmp[22:26] = bytes(4)  # its height
    with pytest.raises(BadRequest, match="has no supported file format"):
        parse_request({"body": bytes(bmp)}, {}, Limits(), ("cat",))


def test_an_option_may_be_named_often_without_being_looked_up_often() -> None:
    body = json.dumps({"img_data": json.loads(PIXEL), "classes": ["dog", 0] * 5000})
    (item,) = parse_request({"body": body}, {}, Limits(), ("cat", "dog")).items
    assert item.options.classes == (0, 1)
