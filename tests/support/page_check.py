"""What a page of HTML is made of, and what is wrong with it: for who has no browser at hand."""

from html.parser import HTMLParser
from itertools import pairwise

_VOID = {"meta", "img", "br", "link", "input", "hr"}
_LOADED = ("src", "srcset", "data", "poster", "background")


class Page(HTMLParser):
    """A page, parsed strictly: `wrong` are its faults, the others what it holds."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.open, self.wrong, self.ids, self.text = [], [], [], []
        self.elements, self.links, self.headings = [], [], []
        self.feed(source)
        self.close()
        self.wrong += [f"<{tag}> is not closed" for tag in self.open]
        self.wrong += [f"id {name} twice" for name in {name for name in self.ids if self.ids.count(name) > 1}]
        for tag, given in self.elements:
            for key in ("aria-labelledby", "for"):
                self.wrong += [f"no id {name}" for name in given.get(key, "").split() if name not in self.ids]
            if tag == "a" and given["href"].startswith("#") and given["href"][1:] not in self.ids:
                self.wrong.append(f"no id {given['href']}")
            if tag == "img" and not given.get("alt"):
                self.wrong.append("a picture without words")
            if tag == "th" and given.get("scope") not in ("row", "col"):
                self.wrong.append("a heading without its scope")
        levels = [int(tag[1]) for tag in self.headings]
        self.wrong += [f"h{b} after h{a}" for a, b in pairwise(levels) if b > a + 1]
        if levels.count(1) != 1:
            self.wrong.append(f"{levels.count(1)} main headings")

    def handle_starttag(self, tag, attrs):
        given = {key: value or "" for key, value in attrs}
        self.elements.append((tag, given))
        if len(given) != len(attrs):
            self.wrong.append(f"<{tag}> says an attribute twice")
        if "id" in given:
            self.ids.append(given["id"])
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(tag)
        self.links += [given["href"]] if "href" in given else []
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.wrong.append(f"</{tag}> in {self.open[-3:]}")
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        """All its text, with single spaces."""
        return " ".join("".join(self.text).split())

    @property
    def loaded(self):
        """Whatever it would fetch to be drawn."""
        return [given[key] for tag, given in self.elements for key in _LOADED if key in given] + [
            given.get("href", "") for tag, given in self.elements if tag == "link"
        ]
