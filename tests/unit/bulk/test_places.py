"""Which images a name stands for: each once, in one order, on the machine's own files and on others."""

import os
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow isn't installed: the extra bulk brings it")

from tensormask_server.bulk.places import PlaceError, place_of, source_of

FILES = ("b/same.jpg", "a/same.jpg", "a/deep/er/x.PNG", "notes.txt", "first.webp", "a/notes.txt", "a b.jpeg", "[1].gif")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "images"


def found(name: str, folder: Path) -> list[str]:
    images = list(source_of(name).images())
    assert all(Path(image).is_file() for image in images)
    return [str(Path(image).relative_to(folder)) for image in images]


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}", "fsspec+file://{}"])
def test_a_folders_images_are_those_whose_names_end_so_in_its_folders_too(folder: Path, form: str) -> None:
    every = ["[1].gif", "a/deep/er/x.PNG", "a/same.jpg", "a b.jpeg", "b/same.jpg", "first.webp"]
    images = [each.removeprefix("fsspec+file://") for each in source_of(form.format(folder)).images()]
    assert sorted(str(Path(each).relative_to(folder)) for each in images) == sorted(every)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["[1].gif", "a b.jpeg", "first.webp", "notes.txt"]),
        ("*/same.jpg", ["a/same.jpg", "b/same.jpg"]),
        ("**/same.jpg", ["a/same.jpg", "b/same.jpg"]),
        ("**/*.[pP][nN][gG]", ["a/deep/er/x.PNG"]),
        ("a/**", ["a/deep/er/x.PNG", "a/notes.txt", "a/same.jpg"]),
        ("**/deep/**/*.PNG", ["a/deep/er/x.PNG"]),
        ("?/notes.txt", ["a/notes.txt"]),
        ("[1].gif", ["[1].gif"]),  # a file's name as it stands
    ],
)
def test_a_pattern_matches_whole_names(folder: Path, pattern: str, names: list[str]) -> None:
    assert found(f"{folder}/{pattern}", folder) == names


def test_a_pattern_may_stand_in_a_uri(folder: Path) -> None:
    assert found(f"file://{folder}/*/same.jpg", folder) == ["a/same.jpg", "b/same.jpg"]


def test_a_name_that_is_not_utf_8_is_reported_with_its_folder(folder: Path) -> None:
    (folder / "a" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
    with pytest.raises(PlaceError, match=rf"a file in {folder}/a has a name that isn't UTF-8, b'.*caf\\xe9"):
        list(source_of(str(folder)).images())


def test_a_file_is_taken_whatever_its_name(folder: Path) -> None:
    assert found(str(folder / "notes.txt"), folder) == ["notes.txt"]


def test_a_relative_name_is_the_same_from_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert found("a", folder) == ["a/deep/er/x.PNG", "a/same.jpg"]
    assert found("*/same.jpg", folder) == ["a/same.jpg", "b/same.jpg"]


def test_links_are_followed_but_not_round_in_a_circle(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "y.jpg").write_bytes(b"")
    (elsewhere / "back").symlink_to(folder / "a")
    for name, target in (("linked", elsewhere), ("itself", folder / "a"), ("same2.jpg", folder / "b" / "same.jpg")):
        (folder / "a" / name).symlink_to(target)
    expected = ["a/deep/er/x.PNG", "a/linked/y.jpg", "a/same.jpg", "a/same2.jpg"]
    assert found(str(folder / "a"), folder) == expected


def test_a_link_to_what_is_not_there_is_a_image_like_one_that_can_not_be_read(folder: Path) -> None:
    (folder / "b" / "gone.jpg").symlink_to(folder / "nowhere")
    (folder / "b" / "itself.jpg").symlink_to(folder / "b" / "itself.jpg")
    assert list(source_of(str(folder / "b")).images()) == [
        f"{folder}/b/{name}.jpg" for name in ("gone", "itself", "same")
    ]


@pytest.mark.parametrize("name", ["{}/absent", "{}/absent/*.jpg", "file://{}/absent", "nonsense://bucket/x"])
def test_what_is_not_there_is_reported(folder: Path, name: str) -> None:
    with pytest.raises(PlaceError, match=r"absent|nonsense"):
        list(source_of(name.format(folder)).images())


def test_names_on_other_filesystems_keep_what_they_begin_with() -> None:
    place = place_of("s3://bucket/folder/?region=eu-central-1")
    assert (place.path, str(place), str(place / "x.jpg")) == (
        "bucket/folder",
        "s3://bucket/folder",
        "s3://bucket/folder/x.jpg",
    )
    assert source_of("s3://bucket/folder/*.jpg?region=eu-central-1").pattern == ("*.jpg",)


def test_folders_in_one_another_may_be_thousands(folder: Path) -> None:
    folders, depth = [os.open(folder, os.O_RDONLY)], 1500
    try:
        for _ in range(depth):
            os.mkdir("d", dir_fd=folders[-1])
            folders.append(os.open("d", os.O_RDONLY, dir_fd=folders[-1]))
            os.close(folders.pop(0))
        assert "first.webp" in found(str(folder), folder)
    finally:  # pytest's own removal is a recursion
        here = folders[-1]
        for _ in range(depth):
            above = os.open("..", os.O_RDONLY, dir_fd=here)
            os.rmdir("d", dir_fd=above)
            os.close(here)
            here = above
        os.close(here)
