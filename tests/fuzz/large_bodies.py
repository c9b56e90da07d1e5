"""Single bodies that are large, or small ones that ask for much; each is made when it is called."""

import base64
import gzip
import json
from collections.abc import Callable

from tests.fuzz import images


def _instances(content: bytes, number: int) -> bytes:
    return json.dumps({"instances": [base64.b64encode(content).decode()] * number}).encode()


KEYS = ",".join(f'"{number}":0' for number in range(1_000_000))
LARGE_BODIES: dict[str, Callable[[], bytes]] = {
    "PNG of 100,000²": lambda: images.png_bomb(100_000),
    "PNG of 10,000²": lambda: images.png_bomb(10_000),
    "PNG of a million texts": lambda: images.png_of_many_chunks(b"tEXt", 1_000_000),
    "PNG of a million IDATs": lambda: images.png_of_many_chunks(b"IDAT", 1_000_000),
    "PNG of texts of 100 MB": images.png_of_compressed_parts,
    "TIFF of 100,000²": lambda: images.tiff_bomb(100_000),
    "TIFF of a tile of 32,768²": lambda: images.tiff_of_one_tile(16, 32_768),
    "TIFF of strips that share their bytes": images.tiff_of_shared_bytes,
    "TIFF of 1,000 pages of 4,000 tags": lambda: images.tiff_of_many_pages(1000, 4000),
    "AVIF of 8192² in 64²": images.avif_bomb,
    "WebP of 16,383²": images.webp_bomb,
    "GIF of 65,535²": images.gif_bomb,
    "GIF of 20,000 frames": lambda: images.gif_of_many_frames(20_000),
    "JPEG of 65,500²": images.jpeg_bomb,
    "JPEG of 50,000 scans": lambda: images.jpeg_of_many_scans(50_000),
    "JPEG of 5 million segments": lambda: images.jpeg_of_many_segments(5_000_000),
    "JPEG of 66 MB of tables": lambda: images.jpeg_of_many_tables(1_015_000),
    "JPEG, readable, 66 MB of EXIF": lambda: images.jpeg_of_many_exifs(19_900, 3300),
    "JPEG, readable, 66 MB of padding": lambda: images.jpeg_of_padding(66_000_000),
    "WebP, readable, 66 MB of EXIF": lambda: images.webp_of_rationals(8_300_000),
    "WebP of 8 million chunks": lambda: images.webp_of_many_chunks(8_000_000),
    "AVIF, readable, 66 MB of EXIF": lambda: images.avif_of_rationals(8_300_000),
    "GIF of 66 MB of comment": lambda: images.gif_of_comment(22_000_000),
    "TIFF, readable, 33 million depths": lambda: images.tiff_of_many_depths(33_000_000),
    "BMP of 2³¹²": images.bmp_bomb,
    "BMP of 33 million empty rows": lambda: images.bmp_of_empty_rows(33_000_000),
    "instances, 100 of 2048²": lambda: _instances(images.png_bomb(2048, 600), 100),
    "instances, 8 of 3000²": lambda: _instances(images.png_bomb(3000, 600), 8),
    "instances, a million": lambda: b'{"instances":[' + b"0," * 1_000_000 + b"0]}",
    "lists, 10 million": lambda: b'{"image":[' + b"[]," * 10_000_000 + b"[]]}",
    "objects, 10 million": lambda: b"[" + b"{}," * 10_000_000 + b"{}]",
    "numbers, 8 million": lambda: b'{"image":[' + b"999," * 8_000_000 + b"1]}",
    "keys, a million": lambda: f"{{{KEYS}}}".encode(),
    "keys, a million, one twice": lambda: f'{{{KEYS}, "999999": 0}}'.encode(),
    "keys beside img_data": lambda: f'{{"img_data": [[[1]],[[2]],[[3]]], {KEYS}}}'.encode(),
    "parameters, a million": lambda: f'{{"inputs":[{{}}],"parameters":{{{KEYS}}}}}'.encode(),
    "base64 of 30 MB in lines": lambda: b"iVBORw0KGgoA" + b"AAAA\n" * 6_000_000,
    "data: URL of 20 MB": lambda: b"data:image/png;base64," + b"%2B" * 7_000_000,
    "key of 20 MB": lambda: b'{"%s":0}' % (b"img_data" * 2_500_000),
    "text of 20 MB": lambda: b'{"image":"%s"}' % (b"a" * 20_000_000),
    "classes, 5 million": lambda: b'{"img_data":[[[1]],[[2]],[[3]]],"classes":[' + b"0," * 5_000_000 + b"0]}",
    "number of 20 MB": lambda: b'{"img_data":' + b"9" * 20_000_000 + b"}",
    "nested 20 million deep": lambda: b"[" * 20_000_000,
    "spaces, 20 MB": lambda: b" " * 20_000_000,
    "a row that lies": lambda: b'{"img_data":[[' + b"[0]," * 300_000 + b"[0,0]]]}",
    "UINT8 of 10⁶ × 10⁶": lambda: b'{"inputs":[{"datatype":"UINT8","shape":[1000000,1000000,3],"data":[1]}]}',
    "zeros, 20 MB": lambda: bytes(20_000_000),
    "gzip of 10 MB": lambda: gzip.compress(bytes(10_000_000), mtime=0),
}
