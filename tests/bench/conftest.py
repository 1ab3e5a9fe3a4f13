"""The browser, for the tests of what a person looks at."""

from browser_support import browser, chromium

__all__ = ["browser", "chromium"]
