"""Sends images, folders of images and videos to a server: python -m tensormask_server.client"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tensormask_server import __version__
from tensormask_server.arguments import whole_number
from tensormask_server.client.connection import Client
from tensormask_server.client.errors import Unreachable
from tensormask_server.client.folder import Requests, UsageError, check_folder, find_images, request_all, summary
from tensormask_server.client.options import add_options, options_of
from tensormask_server.client.video import VideoStopped, add_video_options, is_video, write_video
from tensormask_server.formats import FORMATS
from tensormask_server.printable import give_up_unprinted, one_line, say
from tensormask_server.same_options import OptionsChanged
from tensormask_server.tokens import TokenError, add_token_options, token_of

NAME = "python -m tensormask_server.client"
URL = "http://127.0.0.1:8080/tensormask/predict"


def main(arguments: Sequence[str] | None = None) -> int:
    """Requests and writes the response to each image that has none yet.

    Returns:
        The exit status. 0: each image has a response. 1: images got none, with a line for each on stderr. 2, with one
        line: the usage is wrong, the server can't be reached, or responses can't be written. 130: after Ctrl-C.
    """
    parsed = _parser().parse_args(arguments)
    try:
        requests = Requests(Client(parsed.url, token_of(parsed)), parsed.format, options_of(parsed))
        if is_video(parsed):
            return write_video(parsed, requests)
        images, skipped = find_images(parsed.images, parsed.out, parsed.format)
        check_folder(parsed.out, requests)
        outcome = request_all(requests, images, parsed.out, parsed.at_once)
    except (UsageError, VideoStopped, OptionsChanged, TokenError, Unreachable, OSError) as error:
        print(f"{NAME}: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{NAME}: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    for line in summary(outcome, parsed.out, skipped):
        say(line)
    if outcome.failed:
        say(f"{NAME}: {outcome.failed} of {len(images)} images got no response", sys.stderr)
    give_up_unprinted()
    return 1 if outcome.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME,
        description="Sends images or a video to a server and writes the responses. Existing responses stay.",
    )
    add = parser.add_argument
    add("images", type=Path, nargs="+", metavar="IMAGE", help="an image, a folder of images and folders, or a video")
    add("--url", default=URL, help="URL of the model (default: %(default)s)")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder of the responses, one for each format and choice of options; or the video to write",
    )
    add("--format", choices=tuple(FORMATS), default="coco", help="format of the responses (default: %(default)s)")
    add_options(parser)
    add_token_options(parser)
    add(
        "--at-once",
        type=whole_number(1),
        default=4,
        metavar="N",
        help="requests at the same time (default: %(default)s)",
    )
    add_video_options(parser)
    add("--version", action="version", version=__version__)
    return parser


if __name__ == "__main__":
    sys.exit(main())
