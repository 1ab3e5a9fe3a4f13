"""Fixtures that all tests of the page share: one browser, one detector and one page a session."""

from browser_support import browser, chromium
from page_support import plant

__all__ = ["browser", "chromium", "plant"]
