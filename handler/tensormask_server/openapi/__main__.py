"""Prints the OpenAPI document, or the table of options that stands in docs/REQUESTS.md.

python -m tensormask_server.openapi > docs/openapi.yaml
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tensormask_server.extras import exit_without

TABLE = re.compile(r"^\| option \| value \| default \|\n(\|.*\n)+", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the document as YAML, or writes what is made from the table of options.

    Args:
        arguments: of the command; None for the process's own.

    Returns:
        The exit status, 0. If packages of the extra "predict" are missing, the process ends with status 1 and one line
        on stderr.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tensormask_server.openapi", description="Prints the server's OpenAPI document as YAML."
    )
    parser.add_argument("--options", action="store_true", help="print the table of a request's options in Markdown")
    parser.add_argument(
        "--write", type=Path, metavar="docs", help="write openapi.yaml there, and the table of options in REQUESTS.md"
    )
    parsed = parser.parse_args(arguments)
    exit_without("predict", "python -m tensormask_server.openapi")
    from tensormask_server.openapi.document import openapi_document
    from tensormask_server.openapi.option_schemas import options_table
    from tensormask_server.openapi.yaml_text import yaml_text

    if parsed.write:
        (parsed.write / "openapi.yaml").write_text(yaml_text(openapi_document()), encoding="utf-8")
        page = parsed.write / "REQUESTS.md"
        text = TABLE.sub(lambda _: options_table(), page.read_text(encoding="utf-8"), count=1)
        page.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(options_table() if parsed.options else yaml_text(openapi_document()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
