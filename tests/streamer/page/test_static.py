"""The files browsers load: what came from elsewhere is what it says, and all of it is small."""

import hashlib
import re

import pytest

from streamer.page.files import STATIC

VENDOR = STATIC / "vendor"
MOST_BYTES = 250_000
PAGES = sorted(path.name for path in STATIC.glob("*.html"))
_LINKED = re.compile(r'(?:src|href)="/static/([^"]+)"')
_IMPORTED = re.compile(r'(?:import|export)\b[^;]*?from "\./([^"]+)"')


def loaded(page):
    """Every file that a page loads, by name."""
    found, waiting = set(), [page]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        text = (STATIC / name).read_text("utf-8")
        if name.endswith(".html"):
            waiting += _LINKED.findall(text)
        elif name.endswith(".js") and not name.startswith("vendor/"):
            waiting += _IMPORTED.findall(text)
    return found


def test_vendored_files_are_those_of_the_readme():
    lines = re.findall(r"^([0-9a-f]{64})  (\S+)$", (VENDOR / "README").read_text("utf-8"), re.MULTILINE)
    sums = {name: digest for digest, name in lines}
    assert sums.keys() == {path.name for path in VENDOR.iterdir()} - {"README"}
    for name, digest in sums.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_little_and_nothing_from_elsewhere(page):
    names = loaded(page)
    assert sum((STATIC / name).stat().st_size for name in names) < MOST_BYTES
    text = (STATIC / page).read_text("utf-8")
    assert not re.search(r"""(?:src|href)=["'](?!/)""", text), "an address that is not of this server"
    # The policy would refuse them; here it is told before somebody looks at an empty page.
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", text)


def test_what_a_script_imports_is_exported():
    exported = {}
    for path in STATIC.glob("*.js"):
        text = path.read_text("utf-8")
        names = re.findall(r"^export (?:async )?(?:function|const|class|let) (\w+)", text, re.MULTILINE)
        listed = re.findall(r"^export \{([^}]*)\}", text, re.MULTILINE)
        exported[path.name] = {*names, *(name.strip() for names in listed for name in names.split(","))}
    for path in STATIC.glob("*.js"):
        for names, module in re.findall(
            r'^(?:import|export) \{([^}]*)\} from "\./([^"]+)"', path.read_text("utf-8"), re.M
        ):
            wanted = {name.split(" as ")[0].strip() for name in names.split(",")} - {""}
            assert wanted <= exported[module], f"{path.name} imports of {module}"


@pytest.mark.parametrize("script", sorted(path.name for path in STATIC.glob("*.js")))
def test_no_script_makes_markup_of_text(script):
    text = (STATIC / script).read_text("utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
    )
