"""What the pages promise is there: links, codes, configuration keys and their defaults, commands, metrics."""

import inspect
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, get_args

import pytest
import yaml
from extras import bridge_of, missing_for
from pydantic import TypeAdapter

from musc_online.config import Config, Section, StreamOverride
from streamer.bridges import status
from streamer.bridges.common import Common
from streamer.bridges.registry import KNOWN, load
from streamer.page.config import PageConfig
from streamer.server import metrics
from streamer.wire.codes import CODES, WARNINGS
from streamer.wire.published import KINDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = [
    path for name in ("musc_online", "streamer", "bench", "tests") for path in (ROOT / name).rglob("*.py")
]
SECTIONS = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
SCALARS = sorted(Config.model_fields.keys() - SECTIONS.keys() - {"streams"})


def without_code(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        numbered = (f"{slug}-{number}" for number in range(1, 100))
        found.add(slug if slug not in found else next(name for name in numbered if name not in found))
    return found


def section(page: str, heading: str) -> str:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return parts[parts.index(heading) + 1]


def rows(text: str) -> dict[str, list[str]]:
    """Table rows by each word in backticks in their first cell."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells:
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(page))
    assert links
    for link in links:
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_the_readme_is_short_and_leads_to_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    for page in PAGES[1:]:
        assert f"({page.relative_to(ROOT).as_posix()})" in text


def test_what_the_code_cites_is_there():
    cited = 0
    for path in [*CODE, *(ROOT / "configs").glob("*.yaml")]:
        text = path.read_text(encoding="utf-8")
        for page, anchor in re.findall(r"docs/([\w/-]+\.md)(?:#([\w-]+))?", text):
            assert (ROOT / "docs" / page).is_file(), f"{path}: docs/{page}"
            assert not anchor or anchor in anchors(ROOT / "docs" / page), f"{path}: docs/{page}#{anchor}"
            cited += 1
        if path != Path(__file__):
            assert "DESIGN" not in text, f"{path} cites a page that a clone does not have"
    assert cited


def test_every_code_is_explained():
    explained = rows(section("wire.md", "Codes"))
    assert {code for code, (_, where, *_) in explained.items() if where == "warning"} == WARNINGS
    assert CODES.keys() - explained.keys() == set()


def test_every_kind_has_a_heading():
    assert set(KINDS) - anchors(ROOT / "docs" / "wire.md") == set()


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_is_explained_with_its_default(name):
    model, explained = SECTIONS[name], rows(section("operate.md", name))
    for key in model.model_fields:
        default = yaml.safe_load(explained[key][1].strip("`"))
        assert getattr(model.model_validate({key: default}), key) == getattr(model(), key), f"{name}.{key}"


@pytest.mark.parametrize("name", PageConfig.model_fields)
def test_every_key_of_the_page_is_explained_with_its_default(name):
    model, explained = PageConfig.model_fields[name].annotation, rows(section("page.md", name))
    assert explained.keys() >= model.model_fields.keys()
    for key in model.model_fields:
        default = yaml.safe_load(explained[key][1].strip("`"))
        assert getattr(model.model_validate({key: default}), key) == getattr(model(), key), f"{name}.{key}"


@pytest.mark.parametrize("name", Common.model_fields)
def test_every_key_of_all_bridges_is_explained_with_its_default(name):
    model, explained = Common.model_fields[name].annotation, rows(section("bridges.md", name))
    assert explained.keys() >= model.model_fields.keys()
    for key, field in model.model_fields.items():
        if field.is_required():
            assert explained[key][1] == "required"
            continue
        default = yaml.safe_load(explained[key][1].strip("`"))
        assert field.get_default() == default, f"{name}.{key}"


def leaves(model, above=""):
    """Every key of a section, `a.b` of one within it, with its field."""
    for key, field in model.model_fields.items():
        types = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
        inner = [one for one in types if issubclass(one, Section)]
        if inner:
            yield from leaves(inner[0], f"{above}{key}.")
        else:
            yield above + key, field


def row_of(text, key):
    """The row of `a.b`, or of `b` in a table of the keys of `a`; and whether it is of that key alone."""
    common, *tables = text.split("| key of ")
    outer, _, inner = key.rpartition(".")
    own = {part.split("`")[1]: rows(part.partition("\n")[2]) for part in tables}
    row = rows(common).get(key) or own.get(outer, {}).get(inner)
    return row or rows(common)[outer], row is not None


def needs(words):
    """Skips what is of a bridge whose extra is not installed."""
    if missing_for(bridge_of(words)):
        pytest.skip(missing_for(bridge_of(words)))


@pytest.mark.parametrize("name", KNOWN)
def test_every_key_of_a_bridge_is_explained_with_its_default(name):
    needs(name)
    text, compared = section(f"bridges-{name}.md", "Configuration"), 0
    for key, field in leaves(load(name).section):
        (_, cell, *_), alone = row_of(text, key)
        if alone and field.is_required():
            assert cell.startswith("required"), f"{name}.{key}"
        elif alone and re.fullmatch(r"`[^`]+`|null|true|false|[\d.]+( ?[KMG]iB)?", cell):
            said, default = cell.strip("`"), field.get_default()
            type_of = TypeAdapter(Annotated[field.annotation, "", *field.metadata])
            assert said == default or type_of.validate_python(yaml.safe_load(said)) == default, (
                f"{name}.{key}"
            )
            compared += 1
    assert compared > 3


def test_every_figure_of_a_bridge_is_explained():
    named = re.findall(r'"(\w+)": \("[A-Z1]', inspect.getsource(status))
    explained = rows(section("bridges.md", "Status"))
    for name in named:
        assert {f"musc_bridge_{name}", f"musc_bridge_{name}_total"} & explained.keys(), name
    assert len(named) == 15


def test_the_other_keys_are_explained():
    explained = rows(section("operate.md", " and ".join(reversed(SCALARS))))
    assert sorted(explained) == SCALARS
    for key, (_, default, *_) in explained.items():
        assert getattr(Config(), key) == yaml.safe_load(default.strip("`"))
    named = re.findall(r"`(\w+)`", section("operate.md", "streams"))
    assert StreamOverride.model_fields.keys() - set(named) == set()


def test_every_metric_is_explained():
    named = set(re.findall(r"`(musc_\w+)`", section("operate.md", "Prometheus")))
    exposed = set(re.findall(r'"(musc_\w+)"', inspect.getsource(metrics)))
    # Prometheus adds the suffix of a counter.
    assert {name.removesuffix("_total") for name in named} == exposed


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_can_be_found(page):
    needs(page.name)
    for module in re.findall(r"python -m ([\w.]+\w)", page.read_text(encoding="utf-8")):
        found = find_spec(module)
        assert found is not None, f"{page.name}: python -m {module}"
        runs = found.submodule_search_locations is None or find_spec(f"{module}.__main__") is not None
        assert runs, f"{page.name}: python -m {module}"
