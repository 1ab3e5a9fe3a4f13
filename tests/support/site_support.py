"""The built site as a reader's browser sees it: pages, their anchors, links, and what they load."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

_LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "audio": "src", "video": "src",
          "embed": "src", "object": "data", "track": "src"}  # fmt: skip
_LINKED = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "manifest",
    "modulepreload",
}


@dataclass
class Page:
    """One HTML file.

    Attributes:
        anchors: every `id` and name of an anchor, as often as it stands.
        links: of `<a href>`.
        loaded: what a browser fetches by itself.
        text: of the article's paragraphs and cells, one each.
    """

    anchors: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page
        self.within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.page.anchors.append(given["id"])
        if tag == "a" and "href" in given:
            self.page.links.append(given["href"])
        if tag == "link" and _LINKED & set(given.get("rel", "").split()):
            self.page.loaded.append(given.get("href", ""))
        if tag in _LOADS and _LOADS[tag] in given:
            self.page.loaded.append(given[_LOADS[tag]])
        if "srcset" in given:
            self.page.loaded += [one.split()[0] for one in given["srcset"].split(",")]
        if tag == "article":
            self.within.append(tag)
        elif self.within and tag in ("p", "td", "li"):
            self.page.text.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "article" and self.within:
            self.within.pop()

    def handle_data(self, data: str) -> None:
        if self.within and self.page.text:
            self.page.text[-1] += data


def read(site: Path) -> dict[str, Page]:
    """Every page by its path in the site."""
    pages = {}
    for path in sorted(site.rglob("*.html")):
        page = pages[path.relative_to(site).as_posix()] = Page()
        _Reader(page).feed(path.read_text(encoding="utf-8"))
    return pages


def is_outside(address: str) -> bool:
    """Whether a browser would go to the network for it."""
    return "://" in address or address.startswith("//")


def lost(site: Path, pages: dict[str, Page]) -> list[str]:
    """Each link within the site that leads nowhere, with its page."""
    found = []
    for name, page in pages.items():
        for link in page.links:
            if is_outside(link) or link.startswith(("mailto:", "javascript:")):
                continue
            place, anchor = urldefrag(link)
            # The page of what is not found names all from the root.
            target = (site / place.lstrip("/")) if place.startswith("/") else (site / name).parent / place
            target = (site / name if not place else target).resolve()
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{name}: {link}")
            elif anchor and target.suffix == ".html":
                there = pages[target.relative_to(site.resolve()).as_posix()]
                if unquote(anchor) not in there.anchors:
                    found.append(f"{name}: {link}")
    return found
