"""A run's folder: parts are there whole or not at all, and a run goes on only as it was begun."""

import hashlib
import tracemalloc
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="pyarrow isn't installed: the extra bulk brings it")

import pyarrow as pa
import pyarrow.parquet as pq
from tensormask_server.bulk.checksums import is_whole
from tensormask_server.bulk.listing import RunError, Settings, begin, check_same, is_begun, part_size
from tensormask_server.bulk.parts import Parts
from tensormask_server.bulk.places import Place, place_of
from tensormask_server.bulk.tries import MOST_DEATHS, Tries
from tensormask_server.same_options import OptionsChanged

SETTINGS = Settings("/images", "c0", "f0", ("ant", "bee"), 0.5, "float32", 100, 10)
INSTANCE = {
    "category_id": 2,
    "category_name": "bee",
    "score": 0.5,
    "bbox": [0.5, 1.0, 2.0, 3.0],
    "segmentation": {"size": [4, 5], "counts": "d0d0"},
}


def rows_of(parts: Parts, part: int) -> list[dict[str, Any]]:
    return [{"path": path, "weights_sha256": "f0", "instances": [INSTANCE]} for path in parts.paths(part)]


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    return place_of(str(tmp_path))


@pytest.fixture
def parts(folder: Place) -> Parts:
    begin(folder, SETTINGS, (f"/images/{i}.jpg" for i in range(2345)))
    return Parts(folder)


def test_the_parts_together_have_each_image_once_and_in_order(parts: Parts) -> None:
    assert parts.images == 2345
    paths = list(chain.from_iterable(parts.paths(part) for part in range(len(parts))))
    assert paths == [f"/images/{i}.jpg" for i in range(2345)]
    assert [parts.rows(part) for part in range(len(parts))] == [len(parts.paths(part)) for part in range(len(parts))]


@pytest.mark.parametrize(("images", "size"), [(1, 1), (199, 1), (1000, 10), (10**5, 256), (10**6, 256), (10**7, 1000)])
def test_parts_grow_with_the_images_so_that_there_are_neither_few_nor_too_many(images: int, size: int) -> None:
    assert part_size(images) == size


def test_a_written_part_is_read_as_it_was_given(parts: Parts, tmp_path: Path) -> None:
    error = {"path": "x", "weights_sha256": "f0", "error": "no image"}
    rows = [*rows_of(parts, 0)[:-1], error]
    parts.write(0, rows)
    parts.write(0, rows)  # again, as a task that is tried again does
    names = ("path", "height", "width", "weights_sha256", "instances", "error")
    assert pq.read_table(tmp_path).to_pylist() == [{name: row.get(name) for name in names} for row in rows]
    assert parts.finished() == {0: 1}


def test_a_part_counts_when_it_is_whole(parts: Parts, tmp_path: Path) -> None:
    for part in range(4):
        parts.write(part, rows_of(parts, part))
    paths = sorted(tmp_path.glob("part-*"))
    paths[0].write_bytes(paths[0].read_bytes()[:-100])
    paths[1].write_bytes(b"")
    parts.write(2, rows_of(parts, 2)[:-1])
    assert parts.finished() == {3: 0}


@pytest.mark.attack(14, "flipped bits in what a bulk run wrote")
@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_anywhere_in_a_part_is_found(parts: Parts, tmp_path: Path, bit: int) -> None:
    for part in range(2):
        parts.write(part, rows_of(parts, part))
    path = tmp_path / "part-000001.parquet"
    content = path.read_bytes()
    assert parts.delete_damaged() == 0
    for place in range(0, len(content), 1 if bit == 0 else 7):
        assert not is_whole(flipped(content, place, bit)), place
    for place in range(bit, len(content), len(content) // 50):
        path.write_bytes(flipped(content, place, bit))
        assert parts.delete_damaged() == 1, place
        assert parts.finished() == {0: 0}, place
    parts.write(1, rows_of(parts, 1))
    assert parts.delete_damaged() == 0
    assert parts.finished() == {0: 0, 1: 0}


def flipped(content: bytes, place: int, bit: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"tensormask-sha256:", b"\0" * 5000, None])
def test_something_else_in_the_place_of_a_part_is_damage(parts: Parts, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "part-000001.parquet"
    if content is None:  # whole, but as the version before wrote it
        pq.write_table(pa.Table.from_pylist(rows_of(parts, 1)), path)
    else:
        path.write_bytes(content)
    assert parts.delete_damaged() == 1
    assert not path.exists()


def test_a_flipped_bit_in_the_pages_is_found_by_other_readers_too(parts: Parts, tmp_path: Path) -> None:
    parts.write(0, rows_of(parts, 0))
    path = tmp_path / "part-000000.parquet"
    content = path.read_bytes()
    column = pq.read_metadata(path).row_group(0).column(0)
    start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
    place = start + column.total_compressed_size - 3
    path.write_bytes(flipped(content, place, 3))
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


@pytest.mark.attack(14, "flipped bits in what a bulk run wrote")
def test_a_flipped_bit_in_the_list_of_images_is_reported(folder: Place, tmp_path: Path) -> None:
    begin(folder, SETTINGS, (f"/images/{i}.jpg" for i in range(50)))
    path = tmp_path / "_images.parquet"
    content = path.read_bytes()
    data = content[: pq.read_metadata(path).row_group(0).column(0).total_compressed_size]
    settings = content.index(b'"threshold": 0.5')
    for place in (len(data) - 3, settings + 13, settings + 15):
        path.write_bytes(flipped(content, place, 0))
        with pytest.raises(RunError, match=r"is damaged.*name another --output"):
            Parts(folder).paths(0)


def test_a_run_that_version_0_1_0_began_goes_on(folder: Place, tmp_path: Path) -> None:
    """It had another name for the list of its images."""
    begin(folder, SETTINGS, (f"/images/{i}.jpg" for i in range(50)))
    today = tmp_path / "_images.parquet"
    table = pq.read_table(today)
    run = pq.read_metadata(today).metadata[b"run"].replace(b'"images": 50', b'"pictures": 50')
    table = table.replace_schema_metadata({"run": run, "run_sha256": hashlib.sha256(run).hexdigest()})
    pq.write_table(table, tmp_path / "_pictures.parquet", row_group_size=1000)
    today.unlink()
    assert is_begun(folder)
    parts = Parts(folder)
    assert parts.images == 50
    assert parts.paths(0)[0] == "/images/0.jpg"


def test_what_a_killed_process_leaves_is_no_row_and_goes_in_the_end(parts: Parts, tmp_path: Path) -> None:
    parts.write(1, rows_of(parts, 1))
    (tmp_path / ".part-000002-cafe").write_bytes((tmp_path / "part-000001.parquet").read_bytes()[:50])
    assert pq.read_table(tmp_path).num_rows == parts.rows(1)
    parts.tidy()
    assert {path.name for path in tmp_path.iterdir()} == {"_images.parquet", "part-000001.parquet"}


def test_a_run_that_did_not_begin_leaves_nothing(folder: Place, tmp_path: Path) -> None:
    def breaking() -> Any:
        yield from (str(i) for i in range(1500))
        raise OSError("the folder is gone")

    with pytest.raises(OSError, match="gone"):
        begin(folder, SETTINGS, breaking())
    with pytest.raises(RunError, match="no images in /images"):
        begin(folder, SETTINGS, [])
    assert list(tmp_path.iterdir()) == []
    assert not is_begun(folder)


def test_a_run_needs_a_folder_without_other_files(folder: Place, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(RunError, match=r"holds other files, such as holiday\.jpg"):
        is_begun(folder)
    with pytest.raises(RunError, match="is a file"):
        is_begun(folder / "holiday.jpg")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threshold": 0.3}, "another --threshold: 0.5, not 0.3"),
        ({"weights": "f1"}, "another --weights: f0, not f1"),
        ({"config": "c1"}, "another --config"),
        ({"classes": ("ant", "cat")}, "another --classes: ant, bee, not ant, cat"),
        ({"max_pixels": 7}, "another --max-pixels"),
        ({"input": "/others"}, "another --input"),
        ({"precision": "bfloat16"}, "another --precision"),
    ],
)
def test_a_run_goes_on_with_what_it_was_begun_with(parts: Parts, change: dict[str, Any], said: str) -> None:
    check_same(parts.folder, parts.settings, SETTINGS)
    with pytest.raises(OptionsChanged, match=said):
        check_same(parts.folder, parts.settings, replace(SETTINGS, **change))


def test_listing_keeps_no_more_than_some_thousands_of_paths_in_memory(folder: Place) -> None:
    count, length = 200_000, 200
    tracemalloc.start()
    begin(folder, SETTINGS, (f"/{i:0{length}}.jpg" for i in range(count)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert Parts(folder).images == count
    assert peak < count * length / 10


def test_a_image_at_which_processes_die_is_hopeless_after_some_and_no_other_is(folder: Place) -> None:
    file = folder / "tries"
    assert Tries(file).is_first  # and its process dies
    for death in range(MOST_DEATHS):
        tries = Tries(file)
        assert not tries.is_first
        tries.begin(0)
        tries.survived(0)
        assert not tries.is_hopeless(1), death
        tries.begin(1)  # and its process dies
    tries = Tries(file)
    assert [tries.is_hopeless(index) for index in range(3)] == [False, True, False]
    tries.end()
    tries.end()  # another process has ended it
    assert Tries(file).is_first
