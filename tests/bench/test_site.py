"""The site of docs/: built without a network, its links lead somewhere, it loads nothing from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser_support import browsing, until
from site_support import is_outside, lost, read
from tutorial_support import network

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[docs]'")
pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: pip install -e '.[docs]'")

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "mkdocs.yml"
_FOUND = "return document.querySelector('.md-search-result__item')?.textContent ?? ''"


def build(config, site):
    """As `make docs`, without a network where that can be had. (`--quiet` hides warnings from `strict`.)"""
    return subprocess.run(
        [*network(), sys.executable, "-m", "mkdocs", "build", "-f", config, "-d", site],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = build(CONFIG, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return read(site)


@pytest.mark.slow  # building takes some 10 s
def test_every_page_is_in_the_site_and_every_link_in_it_leads_somewhere(site, pages):
    wanted = {
        f"{path.relative_to(ROOT / 'docs').with_suffix('.html')}" for path in (ROOT / "docs").rglob("*.md")
    }
    assert wanted | {"index.html", "changelog.html", "configurations.html"} <= pages.keys()
    assert sum(len(page.links) for page in pages.values()) > 1000
    assert lost(site, pages) == []


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site, pages):
    loaded = [(name, address) for name, page in pages.items() for address in page.loaded]
    assert len(loaded) > 100
    assert [one for one in loaded if is_outside(one[1])] == []
    for name, address in loaded:
        file = address.partition("?")[0].partition("#")[0]
        target = site / file.lstrip("/") if file.startswith("/") else (site / name).parent / file
        assert target.is_file(), f"{name}: {address}"
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", styles) == []


@pytest.mark.slow
def test_pages_opened_from_a_disk_complain_of_nothing_and_can_be_searched(site):
    with browsing() as browser:
        for page in ("index.html", "tutorials/camera.html"):
            browser.get((site / page).as_uri())
            browser.find_element("css selector", ".md-search__input").send_keys("quarantine")
            until(
                browser,
                lambda: "quarantine" in browser.execute_script(_FOUND).lower(),
                "what was searched for",
            )
            assert [said for said in browser.get_log("browser") if said["level"] == "SEVERE"] == [], page


@pytest.mark.slow
def test_what_is_markdown_in_the_source_is_none_in_the_site(pages):
    """GitHub and the site differ in lists without a blank line before them, and bars in code in tables."""
    for name, page in pages.items():
        for text in page.text:
            told = f"{name}: {text[:120]!r}"
            assert not re.search(r"^\s*(?:[-*] |\d+\. |\|)\S.*\n\s*(?:[-*] |\d+\. |\|)", text), told
            assert "```" not in text, told
            assert r"\|" not in text, told
            assert not re.search(r"\]\([\w./#-]+\)", text), told


@pytest.mark.slow
def test_the_first_page_is_the_readme_and_its_links_stay_in_the_site(pages):
    assert "method.html" in pages["index.html"].links
    assert "operate.html#which-options" in pages["index.html"].links
    assert "configurations.html" in pages["index.html"].links  # of the navigation
    assert "lineyaml" in pages["configurations.html"].anchors


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "method.md").write_text("# A page\n\n[there](operate.md)\n", encoding="utf-8")
    config = tmp_path / "mkdocs.yml"
    text = CONFIG.read_text(encoding="utf-8")
    text = text.replace("../docs", "docs").replace("[mkdocs_hooks.py]", "[]").partition("\nnav:")[0]
    text = re.sub(r"  - mkdocstrings:.*?\n\n", "\n", text, flags=re.DOTALL)
    config.write_text(text, encoding="utf-8")
    done = build(config, tmp_path / "site")
    assert done.returncode == 1
    assert "operate.md" in done.stdout + done.stderr
