"""Models by name, and files by URL: what the table says, where files come from, and what is said if they don't."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tensormask_server import load_predictor
from tensormask_server.archive.__main__ import main as archive_main
from tensormask_server.classes import class_names
from tensormask_server.model_files.detectron2_yaml import load_merged_yaml
from tensormask_server.model_files.key_reader import ConfigError
from tensormask_server.models import cache as cache_module
from tensormask_server.models.errors import ModelError
from tensormask_server.models.files import config_at, files_of_model, path_of_url, weights_at
from tensormask_server.models.table import MODELS, NAMES, SHIPPED, ListedModel, model_named
from tensormask_server.network.config import load_config
from tensormask_server.prediction.detections import PredictionOptions

from reference.cases import load_case, write_weights
from tests.mirror import Mirror

ROOT = Path(__file__).parents[3]
TINY = load_case("tiny")
SIX = model_named("tensormask_R_50_FPN_6x")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(TINY, tmp_path_factory.mktemp("weights") / "tiny.pkl")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_has_the_published_models_and_the_demos() -> None:
    published = {
        "tensormask_R_50_FPN_1x": ("tensormask_R_50_FPN_1x/152549419/model_final_8f325c.pkl", 37.6, 32.4),
        "tensormask_R_50_FPN_6x": ("tensormask_R_50_FPN_6x/153538791/model_final_e8df31.pkl", 41.4, 35.8),
    }
    assert set(NAMES) == {*published, "demo"}
    for name, (path, box_ap, mask_ap) in published.items():
        model = model_named(name)
        assert (model.weights, model.box_ap, model.mask_ap) == (path, box_ap, mask_ap)
        assert model.file_name.endswith(f"_{model.sha256}.pkl")
        comment = f"Published weights: {model.file_name}, box AP {box_ap}, mask AP {mask_ap} on COCO val2017"
        assert comment in (SHIPPED / model.config).read_text()


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_what_the_package_ships_is_there_and_fits(model: ListedModel) -> None:
    config = load_config(SHIPPED / model.config)
    names = class_names(config.head.num_classes, SHIPPED / model.class_names if model.class_names else None)
    assert len(names) == (80 if model.is_published else 20)
    if not model.is_published:
        weights = SHIPPED / model.weights
        assert (weights.stat().st_size, sha256(weights)) == (model.size, model.sha256)


def test_a_name_that_is_none_says_which_there_are() -> None:
    with pytest.raises(ModelError) as caught:
        model_named("tensormask_r_50_fpn_6")
    assert str(caught.value) == (
        "there is no model 'tensormask_r_50_fpn_6' (did you mean tensormask_R_50_FPN_6x?); expected one of "
        "tensormask_R_50_FPN_6x, tensormask_R_50_FPN_1x, demo"
    )
    with pytest.raises(ModelError, match="a configuration needs its weights too"):
        load_predictor("config.yaml")


# --- by name ----------------------------------------------------------------------------------------------------------


def test_the_demos_model_needs_no_network() -> None:
    predictor = load_predictor("demo", offline=True)
    with pytest.raises(ModelError, match=r"expected 0000.* \(--sha256\)"):
        files_of_model("demo", sha256="0" * 64)
    [detections] = predictor([TINY.image], PredictionOptions(score_threshold=0.0, max_detections=1))
    assert detections.masks.shape[1:] == TINY.image.shape[:2]


@pytest.mark.parametrize("path", ["", "/", "/some/folder", f"/elsewhere/{SIX.file_name}"])
def test_a_mirror_is_asked_for_the_published_path_or_the_file(
    mirror: Mirror, cache: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORMASK_MODEL_URL", mirror.url + path)
    expected = path if path.endswith(".pkl") else f"{path.rstrip('/')}/{SIX.weights}"
    mirror.files[expected] = b"not the published weights"
    with pytest.raises(ModelError) as caught:
        files_of_model(SIX.name)
    assert [asked for asked, _ in mirror.requests] == [expected]
    found = hashlib.sha256(b"not the published weights").hexdigest()
    assert f"has the SHA-256 {found}; expected e8df31…" in str(caught.value)
    assert f"curl -fLO {mirror.url}{expected}; and put it at {cache}/{SIX.name}/{SIX.file_name}" in str(caught.value)


def test_a_hash_that_can_not_be_the_models_is_refused(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORMASK_MODEL_URL", mirror.url)
    with pytest.raises(ModelError, match="begins with e8df31; for another file give its URL"):
        files_of_model(SIX.name, sha256="0" * 64)
    assert mirror.requests == []


@pytest.mark.parametrize("url", ["http://mirror.example/x", "mirror.example/x", "https://me:secret@mirror.example/x"])
def test_a_mirror_without_https_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORMASK_MODEL_URL", url)
    with pytest.raises(ModelError, match=r"expected an https URL|fetch the file yourself"):
        files_of_model(SIX.name)


# --- by URL -----------------------------------------------------------------------------------------------------------


def test_weights_and_a_configuration_with_its_bases_come_by_url(mirror: Mirror, weights: Path, cache: Path) -> None:
    mirror.files |= {
        "/x/configs/child.yaml": b'_BASE_: "../Base.yaml"  # beside\n',
        "/x/Base.yaml": TINY.config.read_bytes(),
        "/x/tiny.pkl": weights.read_bytes(),
    }
    config, tiny = f"{mirror.url}/x/configs/child.yaml", f"{mirror.url}/x/tiny.pkl"
    predictor = load_predictor(config, tiny, sha256=sha256(weights))
    assert predictor.config == load_config(TINY.config)
    load_predictor(config, tiny, offline=True)
    assert len(mirror.requests) == 3
    assert len([path for path in cache.rglob("*") if path.suffix in (".yaml", ".pkl")]) == 3


@pytest.mark.parametrize(
    "written",
    [
        "_BASE_: [first.yaml, ../second.yaml]",
        "_BASE_:\n- first.yaml\n- ../second.yaml",
        "_BASE_ :\n  - 'first.yaml'\n  - \"../second.yaml\"",
        "{_BASE_: [first.yaml, ../second.yaml]}",
    ],
)
def test_all_bases_of_a_list_come_by_url(mirror: Mirror, written: str) -> None:
    mirror.files |= {
        "/x/child.yaml": written.encode(),
        "/x/first.yaml": b"INPUT: {MIN_SIZE_TEST: 96}",
        "/second.yaml": b"_BASE_ : x/first.yaml\nINPUT: {MAX_SIZE_TEST: 128}",
    }
    tree = load_merged_yaml(config_at(f"{mirror.url}/x/child.yaml"))
    assert tree == {"INPUT": {"MIN_SIZE_TEST": 96, "MAX_SIZE_TEST": 128}}
    assert len(mirror.requests) == 3


def test_a_circle_of_bases_ends(mirror: Mirror) -> None:
    mirror.files["/a.yaml"] = b"_BASE_: b.yaml\n"
    mirror.files["/b.yaml"] = b"_BASE_: a.yaml\n"
    config = config_at(f"{mirror.url}/a.yaml")
    assert len(mirror.requests) == 2
    with pytest.raises(ConfigError, match="_BASE_ goes in a circle"):
        load_merged_yaml(config)


def test_only_some_bases_are_downloaded(mirror: Mirror) -> None:
    mirror.files |= {f"/{i}.yaml": f"_BASE_: {i + 1}.yaml".encode() for i in range(11)} | {"/11.yaml": b"{}"}
    assert config_at(f"{mirror.url}/1.yaml")
    with pytest.raises(ModelError, match="has more than 10 files of _BASE_; supported: 10"):
        config_at(f"{mirror.url}/0.yaml")


@pytest.mark.parametrize(
    "content", [b"_BASE_: [", b"- a", b"\xff", b"_BASE_: [1, null, /etc/x.yaml, https://h/x.yaml]"]
)
def test_what_names_no_file_beside_it_is_left_to_the_reader(mirror: Mirror, content: bytes) -> None:
    mirror.files["/a.yaml"] = content
    with pytest.raises(ConfigError):
        load_merged_yaml(config_at(f"{mirror.url}/a.yaml"))


def test_the_digits_of_a_files_name_and_a_given_hash_are_checked(mirror: Mirror) -> None:
    mirror.files |= {"/model_final_0a1b2c.pkl": b"x", "/x.pkl": b"x"}
    with pytest.raises(ModelError, match=r"expected 0a1b2c… \(the digits in its name\); nothing of it is kept"):
        weights_at(f"{mirror.url}/model_final_0a1b2c.pkl")
    with pytest.raises(ModelError, match=r"expected 0000.*; nothing of it is kept"):
        weights_at(f"{mirror.url}/x.pkl", sha256="0" * 64)


@pytest.mark.parametrize(
    "url",
    [
        "http://h/x.pkl",
        "ftp://h/x.pkl",
        "https:///x.pkl",
        "https://h:port/x",
        "https://h/x y.pkl",
        "https://h/\x1b.pkl",
    ],
)
def test_what_is_no_https_url_is_refused_and_shown_escaped(url: str) -> None:
    with pytest.raises(ModelError) as caught:
        weights_at(url)
    assert "expected" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_url_that_names_no_file_is_refused() -> None:
    for url in ("https://h", "https://h/", "https://h/folder/", "https://h/.."):
        with pytest.raises(ModelError, match="names no file"):
            weights_at(url)


@pytest.mark.parametrize(
    "url", ["https://h/../../x.pkl", "https://h/%2e%2e/x.pkl", "https://h/a/x.pkl?../../", "https://h\\..\\x/y.pkl"]
)
def test_no_url_leads_out_of_the_cache(url: str, cache: Path) -> None:
    path = path_of_url(url)
    assert path.resolve().is_relative_to(cache / "urls")
    assert path.suffix == ".pkl"


def test_urls_with_other_queries_are_other_files() -> None:
    assert len({path_of_url(f"https://h/x.pkl{query}") for query in ("", "?a", "?b")}) == 3


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--model", SIX.name], ["-cp", "x.yaml", "-tp", SIX.file_name]])
def test_without_a_network_one_line_says_how_to_get_the_file(
    arguments: list[str], cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    assert archive_main(arguments) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    url = "https://dl.fbaipublicfiles.com/detectron2/TensorMask/tensormask_R_50_FPN_6x/153538791/model_final_e8df31.pkl"
    place = SIX.file_name if "-tp" in arguments else f"{cache}/{SIX.name}/{SIX.file_name}"
    assert line.endswith(f"fetch it on a machine with the network: curl -fLO {url}; and put it at {place}")
    assert ("--model tensormask_R_50_FPN_6x downloads it" in line) == ("-tp" in arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "demo", "--model", "demo"], "--model is given 2 times; expected one model"),
        (["--model", "dmeo"], "there is no model 'dmeo' (did you mean demo?)"),
        (["--model", SIX.name, "--offline"], "isn't in the cache"),
        (["--model", SIX.name, "--workers", "0"], "--workers is 0; expected 1 or more"),  # before any download
    ],
)
def test_what_can_not_be_archived_is_said_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert archive_main([*arguments, "--output", str(tmp_path / "store")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("archive.sh: ")
    assert said in line
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("arguments", [[], ["-cp", "a.yaml"], ["--model", "demo", "-tp", "b.pkl"]])
@pytest.mark.parametrize("module", ["archive", "launcher", "verify"])
def test_a_model_is_given_in_one_way(module: str, arguments: list[str]) -> None:
    images = ["x.jpg"] if module == "verify" else []
    command = [sys.executable, "-m", f"tensormask_server.{module}", *arguments, *images]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "give either --model NAME, or -cp CONFIG.yaml and -tp WEIGHTS.pkl" in result.stderr


@pytest.mark.parametrize("module", ["archive", "launcher"])
def test_the_models_are_listed(module: str, cache: Path) -> None:
    (cache / SIX.name).mkdir(parents=True)
    (cache / SIX.name / SIX.file_name).touch()
    command = [sys.executable, "-m", f"tensormask_server.{module}", "--list-models"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    rows = {line.split()[0]: line for line in result.stdout.splitlines()[1:4]}
    assert set(rows) == set(NAMES)
    assert rows[SIX.name].split()[1:5] == ["41.4", "35.8", "146", "MB"]
    assert rows[SIX.name].endswith(f"in {cache}/{SIX.name}")
    assert rows["tensormask_R_50_FPN_1x"].endswith("not downloaded yet")
    assert rows["demo"].endswith("part of this package")


def test_the_archive_of_a_model_has_its_name_and_its_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert archive_main(["--model", "demo", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "demo.mar").exists()
    assert "bicycle, car, airplane" in capsys.readouterr().out
    assert archive_main(["--model", "demo", "--name", "other", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "other.mar").exists()


def test_local_weights_are_checked_against_a_given_hash(weights: Path, tmp_path: Path) -> None:
    assert weights_at(weights, sha256=sha256(weights)) == weights
    with pytest.raises(ModelError, match="expected 0000"):
        weights_at(weights, sha256="0" * 64)
    with pytest.raises(ModelError, match=r"can't read the weights .*: No such file"):
        weights_at(tmp_path / "absent.pkl", sha256="0" * 64)


@pytest.mark.parametrize("hash_text", ["abc", "g" * 64, "0" * 63])
def test_what_is_no_hash_is_refused(hash_text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        archive_main(["--model", "demo", "--sha256", hash_text])
    assert "is not a SHA-256; expected 64 hex digits" in capsys.readouterr().err


# --- where files are kept ---------------------------------------------------------------------------------------------


def test_the_caches_folder_is_the_platforms_or_the_named_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("TENSORMASK_CACHE", "~/mine")
    assert cache_module.cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("TENSORMASK_CACHE", "")
    assert cache_module.cache_folder() == tmp_path / ".cache" / "tensormask-server"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_module.cache_folder() == tmp_path / "xdg" / "tensormask-server"


def test_make_serve_takes_a_models_name() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make")
    command = [make, "--dry-run", "-o", ".venv/.serve", "serve", "MODEL=demo", "OPTIONS=-p 9000"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1].split('"')[0].endswith("tensormask-server --model ")
    assert printed.rstrip().endswith('"demo" -p 9000')


def test_importing_the_room_imports_no_torch() -> None:
    script = "import sys, tensormask_server.models.arguments; print({'torch', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
