"""The requests of a batch are decoded side by side, and their warnings' filters don't outlive them."""

import io
import threading
import time
import warnings

import pytest
from PIL import Image
from tensormask_server.images.encoded import EncodedImage
from tensormask_server.images.errors import image_errors
from tensormask_server.worker.decoding_threads import in_threads

from tests.waiting import PATIENCE


@pytest.mark.parametrize("threads", [1, 2, 9])
def test_what_is_decoded_stays_in_order(threads: int) -> None:
    def decode(number: int) -> int:
        time.sleep(0.001 * (9 - number))  # the first one ends last
        return number**2

    assert in_threads(decode, range(9), threads) == [number**2 for number in range(9)]
    assert in_threads(decode, [], threads) == []


def test_as_many_as_there_are_threads_are_decoded_at_a_time() -> None:
    meeting = threading.Barrier(3)
    assert in_threads(lambda _: meeting.wait(PATIENCE), range(3), 3)  # one after the other they would never meet


def test_one_item_and_one_thread_need_no_other_thread() -> None:
    def decode(_: int) -> int:
        return threading.get_ident()

    assert in_threads(decode, [0], 8) == [threading.get_ident()]
    assert in_threads(decode, [0, 1], 1) == 2 * [threading.get_ident()]


def test_an_exception_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda number: 1 // number, [1, 0, 1], 2)


def test_the_filters_of_warnings_are_put_back() -> None:
    inside, outside = threading.Event(), threading.Event()

    def decode(number: int) -> None:
        if number == 0:
            with image_errors("the first"):
                inside.set()
                assert outside.wait(PATIENCE)
        else:
            assert inside.wait(PATIENCE)
            with image_errors("the second"):  # finds the first one's filters, and puts them back after the first one
                outside.set()
                time.sleep(0.05)

    before = list(warnings.filters)
    in_threads(decode, [0, 1], 2)
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="still seen"):
        warnings.warn("still seen", UserWarning, stacklevel=1)


def test_images_are_the_same_as_one_after_the_other() -> None:
    def file(number: int) -> bytes:
        content = io.BytesIO()
        gradient = Image.linear_gradient("L").resize((64 + number, 48)).convert("RGB")
        gradient.save(content, ("JPEG", "PNG", "WEBP", "TIFF", "GIF")[number % 5])
        return content.getvalue()

    files = [file(number) for number in range(40)]

    def decode(content: bytes) -> bytes:
        return EncodedImage(content).decoded().pixels.tobytes()

    assert in_threads(decode, files, 8) == [decode(each) for each in files]
