"""Addresses without what logs in there: of cameras above all, whose addresses often have a password.

The one place that knows how: for what is shown, logged, sent or told, of our own addresses and of others'.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

_SCHEME = re.compile(
    r"(?i)(?<![\w:@.%+-])(?:rtsps?|https?|rtmp[a-z]{0,2}|udp|s?rtp|srt|tcp|tls|ftp|wss?|file)://"
)
"""Of an address; what begins otherwise, with a slash too few say, may be a user and a password as well."""
_PLACE = re.compile(r"(\[[^\]]*\]|[^:@\[\]]*)(:\d*)?")
_NUMBERS = re.compile(r"\[[0-9A-Fa-f:.]+(%[^\]]*)?\]|\d{1,3}(\.\d{1,3}){3}")
_WORD = re.compile(r"\S+")
_PAIR = re.compile(r"([\w%.-]++)(\s?=\s?)?")
"""Every run of what a key may have, so that what is no key is not looked at again and again."""
_LONGEST_KEY = 128
_SECRET = re.compile(
    r"pass|pas$|pwd|psw|pw$|pw\d|pw_|kennw|token|jwt|bearer|secret|auth|key|sig|cred|session"
    r"|(^|[_.-])(user(name|id)?|usr|login[a-z]*|pin|sid|access)\d*$"
)
_NEXT = re.compile(r"&\s?[\w%.-]++\s?=|_(user|username|password|passwd|pwd|channel|chn|stream|subtype|type)=")
_IN_PATH = re.compile(r"(?<=/)[^/?#:]+:[^/?#]+")
"""A step of a path that looks like `user:password`."""
_BLANK = re.compile(r"\s")
_ENDS = ":;,.!?)'\""
"""Of a sentence, behind an address that stands in one."""
_PASSES = 8


@dataclass(frozen=True)
class _Read:
    """An address behind its scheme, as programs read it: `login@place`, then a tail from `/?#` on."""

    login: str
    place: str
    tail: str

    @property
    def host(self) -> str:
        return self.place.partition(":")[0] if self.place[:1] != "[" else self.place.partition("]")[0] + "]"

    @property
    def is_place(self) -> bool:
        return _PLACE.fullmatch(self.place) is not None

    @property
    def is_sure(self) -> bool:
        """Whether the place is one, and no part of a password that holds `@`, `/`, `?` or `#` as they are."""
        if not self.is_place:
            return False
        other = self.login or ":" in self.place
        return "@" not in self.tail or not other or _NUMBERS.fullmatch(self.host) is not None


class Host(NamedTuple):
    """Of an address: `name`, "" where there is none that can be.

    A password that holds `/`, `?` or `#` as they are ends there, and what stands before it is taken for the
    host: `may_be_asked` says that it is none, `is_password` that it is one, most likely.
    """

    name: str
    may_be_asked: bool
    is_password: bool


def without_secrets(text: str) -> str:
    """A text whose addresses have lost `user:password@`, and what looks like either in a path or a query."""
    return _until_same(_text, text)


def address_without_secrets(address: str) -> str:
    """The same of one address, which may hold anything, blanks too."""
    return _until_same(_address, address)


def passwords(url: str) -> list[str]:
    """The password before the host of an address, as it stands there and as it is meant; none without one."""
    rest = _behind_scheme(url)
    read = _read(rest)
    password = (read if read.is_sure else _read_late(rest)).login.partition(":")[2]
    return sorted(filter(None, {password, unquote(password)}), key=len, reverse=True)


def host_of(url: str) -> Host:
    """The host of an address, as programs read it."""
    read = _read(_behind_scheme(url))
    if not read.is_place:
        return Host("", False, "@" in read.tail)
    name = read.host.strip("[]")
    if read.is_sure or not read.login:  # else, at worst, it is the user
        return Host(name, True, False)
    return Host(name, False, read.tail[0] != "/" or "." not in name)


def _until_same(mask: Callable[[str], str], text: str) -> str:
    if not any(mark in text for mark in "@=%:"):
        return text
    for _ in range(_PASSES):
        masked = mask(text)
        decoded = unquote(masked)
        if decoded != masked and mask(decoded) != decoded:  # an address within another's query, say
            masked = mask(decoded)
        if masked == text:
            return text
        text = masked
    return "***"


def _text(text: str) -> str:
    text = _without_values(text, in_text=True)
    shown, at = [], 0
    for start in _SCHEME.finditer(text):
        if start.start() < at:
            continue
        end = _end(text, start.end())
        end -= len(text[start.end() : end]) - len(text[start.end() : end].rstrip(_ENDS))
        shown += [_without_bare_logins(text[at : start.start()]), start[0]]
        shown.append(_without_login(text[start.end() : end]))
        at = end
    shown.append(_without_bare_logins(text[at:]))
    return "".join(shown)


def _address(address: str) -> str:
    start = _SCHEME.match(address)
    if start is None and _SCHEME.search(address):
        return _text(address)
    # First: a password in a query may look like a login.
    address = _without_values(address, in_text=False)
    if start is None:
        return _without_bare_login(address)
    return start[0] + _without_login(address[start.end() :])


def _end(text: str, start: int) -> int:
    """Where an address ends that begins, behind its scheme, at `start`: its password may hold blanks."""
    blank = _BLANK.search(text, start)
    end = len(text) if blank is None else blank.start()
    word = text[start:end]
    login = text.find("@", end)
    if "@" in word or login < 0 or _read(word.rstrip(_ENDS)).is_place:
        return end
    blank = _BLANK.search(text, login)
    return len(text) if blank is None else blank.start()


def _without_login(rest: str) -> str:
    """What is behind the scheme, without `user:password@`; rather too much is left out than too little."""
    read = _read(rest)
    if "@" in read.tail:
        if read.is_sure:
            return read.place + _without_path_login(_without_bare_login(read.tail))
        if read.login or not read.is_place:
            return _read_late(rest).place
        return f"{read.host}/***"  # a host with its port, or a user with a password that holds a slash
    if read.is_place:
        return read.place + _without_path_login(read.tail)
    return f"{read.host}/***" if ":" in read.place else rest  # a login whose end was cut off


def _without_path_login(tail: str) -> str:
    """Some cameras want `/user:password/` at the beginning of the path."""
    path = re.split(r"[?#]", tail, maxsplit=1)[0]
    return _IN_PATH.sub("***", path) + tail[len(path) :]


def _without_bare_logins(text: str) -> str:
    return _WORD.sub(lambda word: _without_bare_login(word[0]), text)


def _without_bare_login(text: str) -> str:
    """Without `user:password@` where no scheme stands before it."""
    end = text.rfind("@")
    colon = text.find(":", 0, max(0, end))
    if colon < 0:
        return text
    start = 1 + max(text.rfind(mark, 0, colon) for mark in " /?&=;@")
    return f"{text[:start]}***{text[end:]}"


def _read(rest: str) -> _Read:
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    login, _, place = authority.rpartition("@")
    return _Read(login, place, rest[len(authority) :])


def _read_late(rest: str) -> _Read:
    """The same where user and password go on to the last `@`."""
    login, _, place = rest.rpartition("@")
    return _Read(login, place, "")


def _behind_scheme(url: str) -> str:
    start = _SCHEME.match(url)
    return url if start is None else url[start.end() :]


def _without_values(text: str, *, in_text: bool) -> str:
    """Some cameras want name and password in the path or the query: `/user=admin_password=x_channel=1.sdp`.

    A value goes on over what a password may have, up to the next key.
    """
    shown, at = [], 0
    for pair in _PAIR.finditer(text):
        if not pair[2] or pair.start() < at:
            continue
        if not _SECRET.search(unquote(pair[1][-_LONGEST_KEY:]).lower()):
            continue
        following = _NEXT.search(text, pair.end())
        end = len(text) if following is None else following.start()
        if in_text and (blank := _BLANK.search(text, pair.end(), end)) is not None:
            end = blank.start()
            end -= text[end - 1 : end] == ":"
        if end > pair.end():
            shown += [text[at : pair.end()], "***"]
            at = end
    shown.append(text[at:])
    return "".join(shown)
