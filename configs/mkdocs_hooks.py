"""Pages of the site that do not lie in docs/, and the links to them.

README.md is the first page, CHANGELOG.md another one, the configurations (configs/*.yaml) together are one.
Nothing is written beside the sources: the pages are made while the site is built.
"""

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATIONS = "configurations.md"
BESIDE = ("mkdocs.css", "mkdocs-iframe-worker.js")
"""Files beside this one that pages load."""
PLACES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
"""Where a file of the repository is found in the site, if it is not below docs/."""
_CODE_IN_ROW = re.compile(r"^\|.*$", re.MULTILINE)
_FENCED = re.compile(r"(^```.*?^```\s*?$)", re.DOTALL | re.MULTILINE)
_CITED = re.compile(r"docs/([\w/-]+)\.md(#[\w-]+)?(?![^<]*</(?:a|code|pre|title)>)")
_LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]+)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made of other files."""
    for name, place in PLACES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        if name == "README.md":  # it has the room that its diagram needs
            text = f"---\nhide: [toc]\n---\n\n{text}"
        files.append(File.generated(config, place, content=text))
    files.append(File.generated(config, CONFIGURATIONS, content=configurations()))
    for name in BESIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / "configs" / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the links of a page to where the site has what they lead to."""
    place = page.file.src_uri
    parts = _FENCED.split(markdown)
    for at in range(0, len(parts), 2):
        linked = _LINK.sub(lambda found: _rewritten(found, place), parts[at])
        # Within code a bar ends no cell here, as it does for GitHub.
        parts[at] = _CODE_IN_ROW.sub(lambda found: found[0].replace(r"\|", "|"), linked)
    return "".join(parts)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Make links of the pages that docstrings cite as `docs/NAME.md#HEADING`."""
    folder = posixpath.dirname(page.file.src_uri) or "."
    return _CITED.sub(
        lambda found: f'<a href="{posixpath.relpath(found[1], folder)}.html{found[2] or ""}">{found[0]}</a>',
        html,
    )


def configurations() -> str:
    """All shipped configurations as one page, a heading each."""
    text = (
        "# Configurations\n\nAs they are shipped (`musc-online config NAME`); what the keys mean is in "
        "[the handbook](operate.md#configuration).\n"
    )
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        content = path.read_text(encoding="utf-8").rstrip()
        text += f"\n## {path.name}\n\n```yaml\n{content}\n```\n"
    return text


def _rewritten(found: re.Match[str], place: str) -> str:
    link, anchor = found[1], found[2] or ""
    if "://" in link or link.startswith("mailto:"):
        return found[0]
    sources = {site: source for source, site in PLACES.items()}
    folder = posixpath.dirname(sources.get(place, f"docs/{place}"))
    target, anchor = _in_site(posixpath.normpath(posixpath.join(folder, link)), anchor)
    if target is None:  # mkdocs says so, and `strict` makes it an error
        return found[0]
    return f"]({posixpath.relpath(target, posixpath.dirname(place) or '.')}{anchor})"


def _in_site(source: str, anchor: str) -> tuple[str | None, str]:
    """Where the site has a file of the repository, and the anchor there."""
    path = PurePosixPath(source)
    if source in PLACES:
        return PLACES[source], anchor
    if path.parent == PurePosixPath("configs") and path.suffix == ".yaml":
        return CONFIGURATIONS, "#" + re.sub(r"[^\w\- ]", "", path.name.lower())
    if source.startswith("docs/"):
        return source.removeprefix("docs/"), anchor
    return None, anchor
