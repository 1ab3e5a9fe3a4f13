"""A camera set as its source's address asks, each refusal with the setting that it is about."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from streamer.errors import StreamerError
from streamer.sources.device import SourceLost
from streamer.sources.genicam.aravis import AravisError, Library
from streamer.sources.genicam.pixels import FORMATS, PixelFormat, format_of, names
from streamer.sources.genicam.settings import PREFIX, Settings

_CONTINUOUS = 0
# Of ArvAcquisitionMode.
_AUTO_OFF, _AUTO_ON = 0, 2
# Of ArvAuto: off, continuous.
_CHECKED, _UNCHECKED = 1, 0
# Of ArvRangeCheckPolicy and ArvAccessCheckPolicy.


@dataclass(frozen=True)
class Configured:
    """How a camera is set now.

    Attributes:
        pixel_format: of what it sends.
        width: pixels.
        height: pixels.
        trigger: "off", "Software" or a line.
        exposure_s: of a picture; 0 where the camera does not say.
        interval_s: the longest time between two pictures; infinite where a line triggers them.
    """

    pixel_format: PixelFormat
    width: int
    height: int
    trigger: str
    exposure_s: float
    interval_s: float

    @property
    def is_by_line(self) -> bool:
        """Whether a line triggers the pictures."""
        return self.trigger not in {"off", "Software"}


def configure(aravis: Library, camera: Any, settings: Settings) -> Configured:
    """Set a camera, and say how it is set.

    Args:
        aravis: the library.
        camera: opened, not started.
        settings: what to set.

    Raises:
        SourceLost: it does not answer any more.
        StreamerError: it has no such setting, or not this value.
    """
    return _Setting(aravis, camera, settings).all()


@contextmanager
def asked(name: str, what: str) -> Iterator[None]:
    """Aravis's errors as the source's, with `what` it was about: SourceLost where the camera is gone."""
    try:
        yield
    except AravisError as error:
        if error.gone:
            raise SourceLost(f"source: {PREFIX}{name}: {what}: {error}") from None
        raise StreamerError(f"source: {PREFIX}{name}: {what}: {error}") from None


def _commas(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


class _Setting:
    def __init__(self, aravis: Library, camera: Any, settings: Settings) -> None:
        self._aravis, self._camera, self._asked = aravis, camera, settings

    def all(self) -> Configured:
        wanted = self._asked
        with asked(wanted.name, "acquisition mode"):
            self._do("set_acquisition_mode", _CONTINUOUS)
        if wanted.packet_size is not None:
            self._set_packet_size(wanted.packet_size)
        if wanted.region is not None:
            self._set_region(wanted.region)
        if wanted.pixel_format is not None:
            self._set_pixel_format(wanted.pixel_format)
        # Aravis turns triggers off to set a rate: the trigger comes last.
        if wanted.frame_rate is not None and wanted.trigger != "Software":
            self._set_number("frame_rate", "frame_rate", wanted.frame_rate)
        if wanted.exposure_us is not None:
            self._set_number("exposure_us", "exposure_time", wanted.exposure_us)
        if wanted.gain is not None:
            self._set_number("gain", "gain", wanted.gain)
        for feature, value in wanted.features.items():
            self._set_feature(feature, value)
        if wanted.trigger is not None:
            self._set_trigger(wanted.trigger)
        return self._now()

    def _do(self, what: str, *values: Any) -> Any:
        return self._aravis.call(f"arv_camera_{what}", self._camera, *values)

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """With bounds and access as the camera describes them; Aravis itself does not trust what they say."""
        lib = self._aravis.lib
        lib.arv_camera_set_range_check_policy(self._camera, _CHECKED)
        lib.arv_camera_set_access_check_policy(self._camera, _CHECKED)
        try:
            yield
        finally:
            lib.arv_camera_set_range_check_policy(self._camera, _UNCHECKED)
            lib.arv_camera_set_access_check_policy(self._camera, _UNCHECKED)

    def _refuse(self, key: str, text: str) -> StreamerError:
        return StreamerError(f"source: {PREFIX}{self._asked.name}: {key}: {text}")

    def _has(self, feature: str) -> bool:
        return bool(self._do("is_feature_available", feature))

    def _set_number(self, key: str, what: str, value: float | str) -> None:
        """A setting that Aravis has a call for, within the bounds that the camera tells now."""
        with asked(self._asked.name, key):
            if not self._do(f"is_{what}_available"):
                raise self._refuse(key, "this camera has none to set; leave it out")
            automatic = {"exposure_time": "exposure", "gain": "gain"}.get(what)
            if automatic is not None and self._do(f"is_{automatic}_auto_available"):
                self._do(f"set_{what}_auto", _AUTO_ON if value == "auto" else _AUTO_OFF)
            elif value == "auto":
                raise self._refuse(key, "got auto, expected a number: this camera does not choose it itself")
            if value == "auto":
                return
            low, high = self._aravis.bounds(f"arv_camera_get_{what}_bounds", self._camera)
            if not low <= float(value) <= high:
                raise self._refuse(
                    key, f"got {value:.10g}, expected {low:.10g} to {high:.10g} of this camera"
                )
            self._do(f"set_{what}", float(value))

    def _set_packet_size(self, size: int) -> None:
        if not self._aravis.lib.arv_camera_is_gv_device(self._camera):
            raise self._refuse("packet_size", "this camera is none of GigE Vision; leave it out")
        with asked(self._asked.name, "packet_size"):
            self._do("gv_set_packet_size", size)

    def _set_region(self, region: tuple[int, int, int, int]) -> None:
        with asked(self._asked.name, "region"), self._checked():
            self._do("set_region", *region)
            if (got := self._region()) != region:
                raise self._refuse("region", f"got {_commas(region)}, but the camera makes it {_commas(got)}")

    def _region(self) -> tuple[int, ...]:
        numbers = [self._aravis.ffi.new("int *") for _ in range(4)]
        self._do("get_region", *numbers)
        return tuple(number[0] for number in numbers)

    def _set_pixel_format(self, name: str) -> None:
        of_camera = self._choices("dup_available_pixel_formats_as_strings")
        usable = [one for one in of_camera if one in {known.name for known in FORMATS.values()}]
        self._check_choice("pixel_format", name, usable or [names()])
        with asked(self._asked.name, "pixel_format"):
            self._do("set_pixel_format_from_string", name)

    def _set_feature(self, feature: str, value: str) -> None:
        lib = self._aravis.lib
        with asked(self._asked.name, feature):
            if not self._has(feature):
                raise self._refuse(feature, "this camera has no such feature, or not as it is set now")
            node = lib.arv_device_get_feature(lib.arv_camera_get_device(self._camera), feature.encode())
            with self._checked():
                self._aravis.call("arv_gc_feature_node_set_value_from_string", node, value)

    def _set_trigger(self, source: str) -> None:
        with asked(self._asked.name, "trigger"):
            if source == "off":
                self._do("clear_triggers")
                return
            self._check_choice("trigger", source, ["off", *self._choices("dup_available_trigger_sources")])
            self._do("set_trigger", source)
            if (edge := self._asked.trigger_edge) is not None:
                edges = self._choices("dup_available_enumerations_as_strings", "TriggerActivation")
                self._check_choice("trigger_edge", edge, edges)
                self._do("set_string", "TriggerActivation", edge)

    def _choices(self, call: str, *values: Any) -> list[str]:
        with asked(self._asked.name, "what it can"):
            return self._aravis.texts(f"arv_camera_{call}", self._camera, *values)

    def _check_choice(self, key: str, value: str, choices: list[str]) -> None:
        if value not in choices:
            raise self._refuse(key, f"got {value}, expected one of {', '.join(choices)}")

    def _now(self) -> Configured:
        with asked(self._asked.name, "how it is set"):
            _, _, width, height = self._region()
            wanted = format_of(self._do("get_pixel_format") & 0xFFFFFFFF)
            trigger = "off"
            if self._has("TriggerMode") and self._text("TriggerMode") == "On":
                trigger = self._text("TriggerSource")
            exposure_s = self._value("exposure_time") / 1e6
            rate = self._asked.frame_rate if trigger == "Software" else self._value("frame_rate")
        interval_s = (
            exposure_s + (1.0 / rate if rate else 0.0) if trigger in {"off", "Software"} else math.inf
        )
        return Configured(wanted, width, height, trigger, exposure_s, interval_s)

    def _text(self, feature: str) -> str:
        return self._aravis.text(self._do("get_string", feature))

    def _value(self, what: str) -> float:
        value = float(self._do(f"get_{what}")) if self._do(f"is_{what}_available") else 0.0
        return value if math.isfinite(value) and value > 0 else 0.0
