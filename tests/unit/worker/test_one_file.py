"""The page's source files in one."""

import re
from collections import Counter
from pathlib import Path

import pytest
from tensormask_server.worker import page
from tensormask_server.worker.page.one_file import hashes_of, joined_modules, one_file

FOLDER = Path(page.__file__).parent


def test_every_source_file_is_part_of_the_page() -> None:
    html = one_file(FOLDER / "page.html")
    sources = sorted(path for suffix in ("css", "js") for path in FOLDER.rglob(f"*.{suffix}"))
    assert len(sources) > 10
    for path in sources:
        text = path.read_text(encoding="utf-8")
        end = re.sub(r"^export ", "", text.rpartition("\n\n")[2].strip(), flags=re.MULTILINE)
        assert html.count(end) == 1, path.name


def test_nothing_is_left_that_only_a_module_may_have() -> None:
    html = one_file(FOLDER / "page.html")
    assert re.findall(r"^\s*(?:import|export)\b.*|<link rel=\"stylesheet.*|src=\"[^\"]*\.js", html, re.MULTILINE) == []


def test_no_two_modules_export_one_name() -> None:
    exported = re.findall(r"^const \{ (.*) \} = \(\(\) => \{$", joined_modules(FOLDER / "script/main.js"), re.MULTILINE)
    counts = Counter(name for names in exported for name in names.split(", "))
    assert len(counts) > 10
    assert [name for name, count in counts.items() if count > 1] == []


def test_each_module_stands_once_before_those_that_import_it(tmp_path: Path) -> None:
    (tmp_path / "main.js").write_text('import { a } from "./a.js";\nimport { b } from "./b.js";\n\na(b);\n')
    (tmp_path / "a.js").write_text('import {\n  b,\n} from "./b.js";\n\nconst own = 1;\nexport const a = () => b;\n')
    (tmp_path / "b.js").write_text("export async function b() {}\nexport class C {}\n")
    assert (
        joined_modules(tmp_path / "main.js")
        == """"use strict";

const { b, C } = (() => {
async function b() {}
class C {}
return { b, C };
})();

const { a } = (() => {
const own = 1;
const a = () => b;
return { a };
})();

(() => {
a(b);
})();
"""
    )


@pytest.mark.parametrize("tag", ["script", "style"])
def test_each_element_has_its_hash(tag: str) -> None:
    one = hashes_of(tag, f"<{tag}>1</{tag}>")
    two = hashes_of(tag, f"<{tag}>2</{tag}>")
    assert re.fullmatch(r"'sha256-[\w+/]{43}='", one)
    assert hashes_of(tag, f"<{tag}>1</{tag}> <{tag}>2</{tag}>") == f"{one} {two}"
