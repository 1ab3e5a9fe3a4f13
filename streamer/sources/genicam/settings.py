"""What is asked of a GenICam camera: `genicam:NAME?exposure_us=2000&gain=3`, read and checked."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NoReturn
from urllib.parse import unquote

from streamer.errors import StreamerError
from streamer.printable import printable

PREFIX = "genicam:"
Auto = Literal["auto"]

_LONGEST = 4096
_FEATURE = re.compile(r"[A-Z][A-Za-z0-9_]*")
_EXPECTED = "NAME of a serial number, an IP address or an id of Aravis, or nothing for the only camera"


@dataclass(frozen=True)
class Settings:
    """Of a camera; None leaves it as the camera has it.

    Attributes:
        name: serial number, IP address or Aravis's id; "" for the only camera there is.
        exposure_us: microseconds, or `auto`.
        gain: in the camera's unit (most often decibels), or `auto`.
        frame_rate: pictures a second that the camera takes, or with `trigger=Software` that it is asked for.
        trigger: `off`, `Software`, or the camera's name of a line.
        trigger_edge: of a line: `RisingEdge`, `FallingEdge`...; the camera's word.
        pixel_format: the standard's name.
        region: of the sensor: x, y, width, height in pixels.
        packet_size: of GigE Vision, bytes.
        features: any other feature of the camera by its own name, set in this order, before the trigger.
    """

    name: str
    exposure_us: float | Auto | None = None
    gain: float | Auto | None = None
    frame_rate: float | None = None
    trigger: str | None = None
    trigger_edge: str | None = None
    pixel_format: str | None = None
    region: tuple[int, int, int, int] | None = None
    packet_size: int | None = None
    features: Mapping[str, str] = field(default_factory=dict)


def parse(address: str) -> Settings:
    """The camera and its settings out of a source's address.

    Args:
        address: `genicam:NAME?KEY=VALUE&KEY=VALUE`; `%20` and the like are what they stand for.

    Raises:
        StreamerError: an unknown key, a key twice or a value that cannot be; the line names it.
    """
    if not address.startswith(PREFIX) or len(address) > _LONGEST:
        _refuse(f"got {address[:80]}, expected {PREFIX}NAME?KEY=VALUE of at most {_LONGEST} characters")
    name, _, query = address.removeprefix(PREFIX).partition("?")
    if "/" in name or "=" in name or "&" in name:
        _refuse(f"{PREFIX}{name}: expected {_EXPECTED}, then ?KEY=VALUE")
    known: dict[str, object] = {}
    features: dict[str, str] = {}
    for part in query.split("&") if query else ():
        key, there, value = (unquote(one) for one in part.partition("="))
        if not there or not key or not value:
            _refuse(f"{PREFIX}{name}: got {part}, expected KEY=VALUE with keys {_keys()}")
        if key in known or key in features:
            _refuse(f"{key}: given twice, expected once")
        if key in _READERS:
            known[key] = _READERS[key](key, value)
        elif _FEATURE.fullmatch(key):
            features[key] = _feature(key, value)
        else:
            _refuse(f"{key}: unknown, expected {_keys()}")
    if "trigger_edge" in known and known.get("trigger", "off") in {"off", "Software"}:
        _refuse("trigger_edge: goes with the trigger of a line only; say trigger=Line0, or leave it out")
    return Settings(unquote(name), features=features, **known)  # type: ignore[arg-type]


def _keys() -> str:
    return f"{', '.join(_READERS)}, or a feature of the camera by its own name, with a capital (BlackLevel)"


def _refuse(text: str) -> NoReturn:
    raise StreamerError(printable(f"source: {text}"))


def _number(key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    # Decibels may be less than none; how far each may go the camera says.
    if not math.isfinite(number) or (number <= 0 and key != "gain"):
        or_auto = "" if key == "frame_rate" else ", or auto"
        _refuse(f"{key}: got {value}, expected a number{'' if key == 'gain' else ' above 0'}{or_auto}")
    return number


def _number_or_auto(key: str, value: str) -> float | Auto:
    return "auto" if value == "auto" else _number(key, value)


def _trigger(key: str, value: str) -> str:
    lower = value.lower()
    return {"off": "off", "software": "Software"}.get(lower, _word(key, value))


def _word(key: str, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", value):
        _refuse(f"{key}: got {value}, expected a name of letters, digits and _")
    return value


def _region(key: str, value: str) -> tuple[int, int, int, int]:
    if not re.fullmatch(r"\d{1,6},\d{1,6},\d{1,6},\d{1,6}", value, re.ASCII):
        _refuse(f"{key}: got {value}, expected X,Y,WIDTH,HEIGHT in pixels")
    x, y, width, height = (int(number) for number in value.split(","))
    if not width or not height:
        _refuse(f"{key}: got {value}, expected a width and a height above 0")
    return x, y, width, height


def _packet_size(key: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,5}", value, re.ASCII) or not 220 <= int(value) <= 16384:
        _refuse(f"{key}: got {value}, expected 220 to 16384 bytes")
    return int(value)


def _feature(key: str, value: str) -> str:
    if not value.isprintable():
        _refuse(f"{key}: got {value}, expected a value that can be printed")
    return value


_READERS: dict[str, Callable[[str, str], object]] = {
    "exposure_us": _number_or_auto,
    "gain": _number_or_auto,
    "frame_rate": _number,
    "trigger": _trigger,
    "trigger_edge": _word,
    "pixel_format": _word,
    "region": _region,
    "packet_size": _packet_size,
}
