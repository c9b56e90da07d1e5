"""The page's source files to one HTML file. A browser then needs one request, and a user needs no bundler.

`page.html` names its style sheets and its script as a browser would load them from a folder. A script is a JavaScript
module. Each module becomes a function that is called once, before those of the modules that import it. What a module
exports is a name of the whole script, so that no two modules may export one name.
"""

import base64
import hashlib
import re
from pathlib import Path

STYLE = re.compile(r'<link rel="stylesheet" href="([\w/]+\.css)">')
SCRIPT = re.compile(r'<script src="([\w/]+\.js)" type="module"></script>')
IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w/]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export ((?:const|function|async function|class) (\w+))", re.MULTILINE)


def one_file(page: Path) -> str:
    """The HTML file with its style sheets and its script in place.

    Args:
        page: the HTML file. The files that it names lie in its folder.
    """
    html = page.read_text(encoding="utf-8")
    html = STYLE.sub(lambda found: f"<style>\n{(page.parent / found[1]).read_text(encoding='utf-8')}</style>", html)
    return SCRIPT.sub(lambda found: f"<script>\n{joined_modules(page.parent / found[1])}</script>", html)


def joined_modules(main: Path) -> str:
    """One script of a module and what it imports, each module once."""
    order: list[Path] = []
    _follow_imports(main, order)
    return '"use strict";\n\n' + "\n".join(_as_function(path.read_text(encoding="utf-8")) for path in order)


def _as_function(module: str) -> str:
    names = ", ".join(each[1] for each in EXPORT.findall(module))
    body = EXPORT.sub(r"\1", IMPORT.sub("", module)).strip()
    if not names:
        return f"(() => {{\n{body}\n}})();\n"
    return f"const {{ {names} }} = (() => {{\n{body}\nreturn {{ {names} }};\n}})();\n"


def _follow_imports(module: Path, order: list[Path]) -> None:
    for name in IMPORT.findall(module.read_text(encoding="utf-8")):
        if module.parent / name not in order:
            _follow_imports(module.parent / name, order)
    order.append(module)


def hashes_of(tag: str, html: str) -> str:
    """The sources of a content security policy that allow the elements of this tag in the HTML, and no others."""
    contents = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in contents]
    return " ".join(f"'sha256-{digest}'" for digest in digests)
