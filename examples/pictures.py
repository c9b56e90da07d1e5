"""Makes the pictures and tables of docs/INTEGRATIONS.md again, by a running server with the demo's network.

make serve MODEL=demo
.venv/bin/python -m examples.pictures http://127.0.0.1:8080/demo/predict

LabelMe's and X-AnyLabeling's windows, FiftyOne's drawing and Label Studio's screen need these packages, each in an
environment of its own: --labelme PYTHON, --x-anylabeling PYTHON, --fiftyone PYTHON and --label-studio PYTHON name the
Python of that environment. Without them, their pictures stay as they are. X-AnyLabeling asks the server's gateway, that
of --gateway URL. Label Studio's picture needs a Chromium on the PATH, and brings a gateway of its own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
import cvat_sdk.auto_annotation as cvataa
import numpy as np
from PIL import Image, ImageDraw

from examples import cvat_function, label_studio_picture
from examples.moving_drawings import SIZE, scene, write_video

HERE = Path(__file__).parent
RESULTS = HERE / "results"
FRAMES = 36  # as moving_drawings.py makes them
STILL = (8, 24)  # an index, and a number of frames
SHOWN = (0, 17, 35)  # frames of the video
COLOURS = 96  # of a picture, so that it has less than 100 kB
# in LabelMe's environment: opens an image with its annotations, and saves a picture of the window
WINDOW = """
import sys
from PyQt5 import QtCore, QtWidgets
from labelme.app import MainWindow
application = QtWidgets.QApplication(sys.argv[:1])
window = MainWindow(file_or_dir=sys.argv[1])
window.resize(1000, 640)
window.show()
def grab():
    window.grab().save(sys.argv[2])
    application.exit()
QtCore.QTimer.singleShot(5000, grab)
application.exec_()
"""

# in X-AnyLabeling's environment: opens an image, asks the gateway for its shapes, and saves a picture of the window
X_ANYLABELING = """
import json, os, sys, time
from PyQt6 import QtWidgets
from anylabeling import config
settings = {"remote_server_settings": {"server_url": sys.argv[1], "api_key": ""}}
config.current_config_file = json.dumps(settings)
application = QtWidgets.QApplication(sys.argv[:1])
from anylabeling.resources import resources
from anylabeling.views.mainwindow import MainWindow
window = MainWindow(application, config=config.get_config(), filename=sys.argv[2])
window.resize(1200, 760)
window.show()
def wait(done):
    end = time.monotonic() + 120
    while not done():
        if time.monotonic() > end:
            sys.exit("the window shows no shapes")
        application.processEvents()
        time.sleep(0.02)
view = window.labeling_widget.view
wait(lambda: view.filename)
tool = view.auto_labeling_widget
view.toggle_auto_labeling_widget()
tool.new_model_selected.emit(":/remote_server.yaml")
wait(lambda: tool.remote_server_select_combobox.count())
tool.run_prediction()
wait(lambda: view.canvas.shapes)
drawn = time.monotonic() + 2
wait(lambda: time.monotonic() > drawn)
window.grab().save(sys.argv[3])
os._exit(0)  # its threads would go on
"""
# in FiftyOne's environment, which has NumPy, Pillow and pycocotools: draws the sample that the example makes
DRAWN = """
import sys
from pathlib import Path
import fiftyone.utils.annotations
from tensormask_server.client import Client
from examples.client_to_fiftyone import samples
[sample] = samples(Client(sys.argv[1]), Path(sys.argv[2]), 0.5)
fiftyone.utils.annotations.draw_labeled_image(sample, sys.argv[3])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the pictures and tables of docs/INTEGRATIONS.md again.")
    parser.add_argument("url", help="of the demo's network on a server")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a folder (default: %(default)s)")
    parser.add_argument("--labelme", metavar="PYTHON", help="of an environment with LabelMe")
    parser.add_argument("--x-anylabeling", metavar="PYTHON", help="of an environment with X-AnyLabeling")
    parser.add_argument("--gateway", default="http://127.0.0.1:8000", metavar="URL", help="(default: %(default)s)")
    parser.add_argument("--fiftyone", metavar="PYTHON", help="of an environment with FiftyOne")
    parser.add_argument("--label-studio", metavar="PYTHON", help="of an environment with Label Studio")
    parser.add_argument("--management-port", default="8081", help="of the server (default: %(default)s)")
    parsed = parser.parse_args()
    parsed.results.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "images").mkdir()
        image = folder / "images" / "scene.png"
        Image.fromarray(scene(*STILL)[0]).save(image)
        video(parsed.url, folder, parsed.results)
        run("client_to_supervision.py", parsed.url, image, folder / "supervision.png")
        save(Image.open(folder / "supervision.png"), parsed.results / "supervision.png")
        cvat(parsed.url, image, parsed.results)
        run("client_to_labelme.py", parsed.url, image.parent)
        for python, code, words in (
            (parsed.labelme, WINDOW, [image.with_suffix(".json"), folder / "labelme.png"]),
            (parsed.x_anylabeling, X_ANYLABELING, [parsed.gateway, image, folder / "x_anylabeling.png"]),
            (parsed.fiftyone, DRAWN, [parsed.url, image.parent, folder / "fiftyone.png"]),
        ):
            if python:
                run_elsewhere(python, code, words, folder)
                save(Image.open(words[-1]), parsed.results / words[-1].name)
        if parsed.label_studio:
            picture = folder / "label_studio.png"
            label_studio_picture.take(parsed.label_studio, parsed.url, parsed.management_port, image, picture)
            save(Image.open(picture), parsed.results / picture.name)


def video(url: str, folder: Path, results: Path) -> None:
    """The video of moving drawings with its masks: some of its frames, and the table of its tracks."""
    write_video(folder / "video.mp4", FRAMES)
    command = [sys.executable, "-m", "tensormask_server.client", folder / "video.mp4", "--url", url, "--track"]
    subprocess.run([*map(str, command), "--out", str(folder / "video.masks.mp4")], check=True)
    with av.open(folder / "video.masks.mp4") as masked:
        frames = [frame.to_ndarray(format="rgb24") for frame in masked.decode(video=0)]
    save(Image.fromarray(np.concatenate([frames[index] for index in SHOWN], axis=1)), results / "video.png")
    (results / "video_tracks.txt").write_text(run("video_tracks.py", folder / "video.masks.csv"))


def cvat(url: str, image: Path, results: Path) -> None:
    """The polygons that the function for CVAT returns, drawn on the image."""

    class Context(cvataa.DetectionFunctionContext):  # type: ignore[misc]
        frame_name, conf_threshold, conv_mask_to_poly = image.name, None, True

    function = cvat_function.create(url, "apple,sports ball,traffic light", shapes="polygon")
    names = {label.id: label.name for label in function.spec.labels}
    drawn = Image.open(image).convert("RGB")
    draw = ImageDraw.Draw(drawn)
    for shape in function.detect(Context(), drawn.copy()):
        points = list(zip(shape.points[::2], shape.points[1::2], strict=True))
        draw.line([*points, points[0]], fill="white", width=2)
        for x, y in points:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill="blue")
        draw.text(min(points), names[shape.label_id], fill="black")
    save(drawn.resize((SIZE, SIZE)), results / "cvat.png")


def run(example: str, *words: object) -> str:
    """What an example prints."""
    command = [sys.executable, str(HERE / example), *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def run_elsewhere(python: str, code: str, words: Sequence[object], home: Path) -> None:
    """Runs code by the Python of another environment, without a screen, with this project's package and examples."""
    environment = {
        **os.environ,
        "HOME": str(home),
        "QT_QPA_PLATFORM": "offscreen",
        "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE.parent / 'handler'}",
    }
    subprocess.run([python, "-c", code, *map(str, words)], check=True, env=environment)


def save(image: Image.Image, path: Path) -> None:
    """Saves a picture in few colours."""
    image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
