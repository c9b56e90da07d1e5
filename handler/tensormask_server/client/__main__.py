"""Files and folders of images through a server, several at a time: python -m tensormask_server.client"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tensormask_server import __version__
from tensormask_server.arguments import whole_number
from tensormask_server.client.connection import Client
from tensormask_server.client.errors import Unreachable
from tensormask_server.client.folder import Requests, UsageError, check_folder, find_images, request_all
from tensormask_server.client.options import add_options, options_of
from tensormask_server.formats import FORMATS
from tensormask_server.printable import one_line
from tensormask_server.same_options import OptionsChanged
from tensormask_server.tokens import TokenError, add_token_options, token_of

NAME = "python -m tensormask_server.client"
URL = "http://127.0.0.1:8080/predictions/tensormask"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the server's response to each image that has none yet.

    Returns:
        0; 1 where images got no response, with a line for each on stderr; 2, with one line, for wrong usage, a server
        that can't be reached, or responses that can't be written; 130 after Ctrl-C.
    """
    parsed = _parser().parse_args(arguments)
    try:
        requests = Requests(Client(parsed.url, token_of(parsed)), parsed.format, options_of(parsed))
        images = find_images(parsed.images, parsed.out, parsed.format)
        check_folder(parsed.out, requests)
        failed = request_all(requests, images, parsed.out, parsed.at_once)
    except (UsageError, OptionsChanged, TokenError, Unreachable, OSError) as error:
        print(f"{NAME}: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{NAME}: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    if failed:
        print(f"{NAME}: {failed} of {len(images)} images had no answer", file=sys.stderr)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME, description="Sends images to a server and writes its responses. Existing responses stay as they are."
    )
    add = parser.add_argument
    add("images", type=Path, nargs="+", metavar="IMAGE", help="an image, or a folder, with the folders in it")
    add("--url", default=URL, help="of the model (default: %(default)s)")
    add("--out", type=Path, required=True, metavar="DIR", help="one folder for each format and choice of options")
    add("--format", choices=tuple(FORMATS), default="coco", help="of the responses (default: %(default)s)")
    add_options(parser)
    add_token_options(parser)
    add("--at-once", type=whole_number(1), default=4, metavar="N", help="requests at a time (default: %(default)s)")
    add("--version", action="version", version=__version__)
    return parser


if __name__ == "__main__":
    sys.exit(main())
