"""Encodes a mask in Label Studio's run lengths, which its brush reads.

The encoded values are the bytes R, G, B and A of each pixel, along the rows: 255 inside of the mask, and 0 outside. A
head of 53 bits comes first. It has the number of values (32 bits), the bits of a value less 1 (5), and the bits of four
sizes of lengths, each less 1 (4 × 4). Each run then has a 1 for "repeated" (1), the size of its length (2), its length
less 1 (of that size), and its value (8). A longer run is written as several. The last byte is filled up with zeros.

Source: "Encoding format" in the README of the package @thi.ng/rle-pack, which Label Studio uses.
"""

import numpy as np

from tensormask_server.compressed_runs import characters_of_runs, decompressed_runs

CHANNELS = 4
INSIDE = 255
VALUE_BITS = 8
LENGTH_BITS = np.array([3, 4, 8, 16])  # the package's own choice
LONGEST = 1 << 16  # values of one run
HEAD_BITS = ((32, None), (5, VALUE_BITS - 1), *((4, bits - 1) for bits in LENGTH_BITS.tolist()))


def brush_rle(counts: str, height: int, width: int) -> list[int]:
    """Encodes the mask of an instance.

    Args:
        counts: the mask in COCO's compressed run lengths, as the server writes them.
        height, width: of the image, in pixels; together fewer than 2³⁰, as their values have to be counted in 32 bits.

    Returns:
        The bytes, as numbers from 0 to 255.
    """
    starts, ends = row_runs(counts, height, width)
    borders = CHANNELS * np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [height * width]])
    lengths = np.diff(borders)  # of the runs outside and inside by turns
    values = np.where(np.arange(len(lengths)) % 2 == 1, INSIDE, 0)
    return _packed(lengths[lengths > 0], values[lengths > 0], CHANNELS * height * width)


def row_runs(counts: str, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Turns COCO's runs, which go down the columns, into runs along the rows.

    Args:
        counts, height, width: as for `brush_rle`.

    Returns:
        int64 (R,) and (R,): where runs of the mask start and end, as places in the image's flattened rows. Each starts
        after the end of the one before.
    """
    codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    borders = decompressed_runs(codes, characters_of_runs(codes)).cumsum()
    starts, ends = borders[0:-1:2], borders[1::2]  # down the columns
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(starts):
        return starts, ends
    left, right = int(starts[0]) // height, (int(ends[-1]) - 1) // height + 1
    pixels = np.zeros((right - left) * height + 1, np.int8)  # only the columns that the mask spans
    pixels[starts - left * height] += 1
    pixels[ends - left * height] -= 1
    columns = pixels[:-1].cumsum(dtype=np.int8).reshape(right - left, height)
    filled = np.flatnonzero(columns.any(axis=0))
    top, bottom = int(filled[0]), int(filled[-1]) + 1
    rows = np.pad(columns[:, top:bottom].T, ((0, 0), (1, 1)))
    changes = np.diff(rows, axis=1)
    first = np.arange(top, bottom)[:, None] * width + left + np.arange(right - left + 1)
    row_starts, row_ends = first[changes == 1], first[changes == -1]
    apart = row_starts[1:] > row_ends[:-1]  # a run of whole rows goes on in the next one
    return row_starts[np.append(True, apart)], row_ends[np.append(apart, True)]


def _packed(lengths: np.ndarray, values: np.ndarray, count: int) -> list[int]:
    """The head and the runs, as bytes."""
    pieces = -(-lengths // LONGEST)
    values = np.repeat(values, pieces)
    shares = np.full(len(values), LONGEST)
    shares[pieces.cumsum() - 1] = lengths - (pieces - 1) * LONGEST
    sizes = np.searchsorted(1 << LENGTH_BITS, shares)
    length_bits = LENGTH_BITS[sizes]
    codes = (((0b100 | sizes) << length_bits | shares - 1) << VALUE_BITS) | values
    head = [_bits(np.array([count if value is None else value]), np.array([bits])) for bits, value in HEAD_BITS]
    packed: list[int] = np.packbits(np.concatenate([*head, _bits(codes, 3 + length_bits + VALUE_BITS)])).tolist()
    return packed


def _bits(numbers: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The lowest bits of numbers, of each as many as counted, highest first: uint8 (sum of the counts,)."""
    ends = counts.cumsum()
    shifts = np.repeat(ends, counts) - 1 - np.arange(ends[-1])
    bits: np.ndarray = ((np.repeat(numbers, counts) >> shifts) & 1).astype(np.uint8)
    return bits
