"""The kinds of files by their first bytes: those that are read, and those that are refused by name."""

import re

# the first bytes of the file formats that the server accepts, by Pillow's names
SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "WEBP": (b"RIFF",),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*"),
}
# the first bytes of other files that people send; in HEIC and AVIF they follow a length of 4 bytes
UNSUPPORTED = {
    "HEIC": re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL),
    "AVIF": re.compile(rb"....ftypavi", re.DOTALL),
    "a video": re.compile(rb"....ftyp", re.DOTALL),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  "),
    "SVG": re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.{,1000}?-->\s*)?<svg", re.DOTALL),
    "PDF": re.compile(rb"%PDF-"),
    "a zip archive": re.compile(rb"PK\x03\x04"),
}
LONGEST_HEAD = 2000  # bytes that are searched for these; searching megabytes would take seconds


def unsupported_type(content: bytes) -> str:
    """The type of a file that isn't supported, such as HEIC; "" if the type is unknown."""
    head = content[:LONGEST_HEAD]
    return next((name for name, start in UNSUPPORTED.items() if start.match(head)), "")
