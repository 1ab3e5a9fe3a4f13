"""The C library Aravis by cffi: its calls with their errors as exceptions, what it gives with an owner.

Only `libaravis-0.8.so.0` is needed at run time, no compiler and no GObject introspection; the calls are those
of its public headers, the same in every 0.8.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from streamer.errors import StreamerError
from streamer.printable import printable

_LIBRARY = "libaravis-0.8.so.0"
_MISSING = (
    "source: genicam: needs Aravis 0.8 and cffi ({why}); install them with `apt-get install libaravis-0.8-0` "
    "and `pip install 'musc-online[genicam]'`"
)
_GONE = frozenset({2, 3, 4, 5, 6, 10, 17, 18})
# Of ArvDeviceError: not connected, protocol error, transfer error, timeout, not found, not the controller,
# access denied, busy. The other numbers say that what was asked cannot be.

_DECLARATIONS = """
typedef struct { uint32_t domain; int code; char *message; } GError;
typedef struct ArvCamera ArvCamera;
typedef struct ArvDevice ArvDevice;
typedef struct ArvStream ArvStream;
typedef struct ArvBuffer ArvBuffer;
typedef struct ArvGcNode ArvGcNode;

uint32_t arv_device_error_quark(void);
void arv_update_device_list(void);
unsigned int arv_get_n_devices(void);
const char *arv_get_device_id(unsigned int index);
const char *arv_get_device_physical_id(unsigned int index);
const char *arv_get_device_address(unsigned int index);
const char *arv_get_device_model(unsigned int index);
const char *arv_get_device_serial_nbr(unsigned int index);

ArvCamera *arv_camera_new(const char *name, GError **error);
ArvDevice *arv_camera_get_device(ArvCamera *camera);
ArvStream *arv_camera_create_stream(ArvCamera *camera, void *callback, void *user_data, GError **error);
void arv_camera_start_acquisition(ArvCamera *camera, GError **error);
void arv_camera_stop_acquisition(ArvCamera *camera, GError **error);
void arv_camera_set_acquisition_mode(ArvCamera *camera, int value, GError **error);
unsigned int arv_camera_get_payload(ArvCamera *camera, GError **error);
void arv_camera_set_region(ArvCamera *camera, int x, int y, int width, int height, GError **error);
void arv_camera_get_region(ArvCamera *camera, int *x, int *y, int *width, int *height, GError **error);
unsigned int arv_camera_get_pixel_format(ArvCamera *camera, GError **error);
void arv_camera_set_pixel_format_from_string(ArvCamera *camera, const char *format, GError **error);
const char **arv_camera_dup_available_pixel_formats_as_strings(
    ArvCamera *camera, unsigned int *n, GError **error);
const char **arv_camera_dup_available_trigger_sources(ArvCamera *camera, unsigned int *n, GError **error);
const char **arv_camera_dup_available_enumerations_as_strings(
    ArvCamera *camera, const char *feature, unsigned int *n, GError **error);
int arv_camera_is_frame_rate_available(ArvCamera *camera, GError **error);
double arv_camera_get_frame_rate(ArvCamera *camera, GError **error);
void arv_camera_set_frame_rate(ArvCamera *camera, double frame_rate, GError **error);
void arv_camera_get_frame_rate_bounds(ArvCamera *camera, double *min, double *max, GError **error);
int arv_camera_is_exposure_time_available(ArvCamera *camera, GError **error);
int arv_camera_is_exposure_auto_available(ArvCamera *camera, GError **error);
double arv_camera_get_exposure_time(ArvCamera *camera, GError **error);
void arv_camera_set_exposure_time(ArvCamera *camera, double exposure_time_us, GError **error);
void arv_camera_get_exposure_time_bounds(ArvCamera *camera, double *min, double *max, GError **error);
void arv_camera_set_exposure_time_auto(ArvCamera *camera, int auto_mode, GError **error);
int arv_camera_is_gain_available(ArvCamera *camera, GError **error);
int arv_camera_is_gain_auto_available(ArvCamera *camera, GError **error);
void arv_camera_set_gain(ArvCamera *camera, double gain, GError **error);
void arv_camera_get_gain_bounds(ArvCamera *camera, double *min, double *max, GError **error);
void arv_camera_set_gain_auto(ArvCamera *camera, int auto_mode, GError **error);
void arv_camera_set_trigger(ArvCamera *camera, const char *source, GError **error);
void arv_camera_clear_triggers(ArvCamera *camera, GError **error);
void arv_camera_software_trigger(ArvCamera *camera, GError **error);
int arv_camera_is_feature_available(ArvCamera *camera, const char *feature, GError **error);
const char *arv_camera_get_string(ArvCamera *camera, const char *feature, GError **error);
void arv_camera_set_string(ArvCamera *camera, const char *feature, const char *value, GError **error);
void arv_camera_set_range_check_policy(ArvCamera *camera, int policy);
void arv_camera_set_access_check_policy(ArvCamera *camera, int policy);
int arv_camera_is_gv_device(ArvCamera *camera);
void arv_camera_gv_set_packet_size(ArvCamera *camera, int packet_size, GError **error);
int arv_gv_device_is_controller(ArvDevice *device);
ArvGcNode *arv_device_get_feature(ArvDevice *device, const char *feature);
void arv_gc_feature_node_set_value_from_string(ArvGcNode *node, const char *string, GError **error);

void arv_stream_push_buffer(ArvStream *stream, ArvBuffer *buffer);
ArvBuffer *arv_stream_try_pop_buffer(ArvStream *stream);
ArvBuffer *arv_stream_timeout_pop_buffer(ArvStream *stream, uint64_t timeout);
unsigned int arv_stream_get_n_infos(ArvStream *stream);
const char *arv_stream_get_info_name(ArvStream *stream, unsigned int id);
uint64_t arv_stream_get_info_uint64(ArvStream *stream, unsigned int id);

ArvBuffer *arv_buffer_new_allocate(size_t size);
int arv_buffer_get_status(ArvBuffer *buffer);
int arv_buffer_get_payload_type(ArvBuffer *buffer);
uint64_t arv_buffer_get_system_timestamp(ArvBuffer *buffer);
const void *arv_buffer_get_data(ArvBuffer *buffer, size_t *size);
unsigned int arv_buffer_get_image_pixel_format(ArvBuffer *buffer);
int arv_buffer_get_image_width(ArvBuffer *buffer);
int arv_buffer_get_image_height(ArvBuffer *buffer);
void arv_buffer_get_image_padding(ArvBuffer *buffer, int *x_padding, int *y_padding);

void g_error_free(GError *error);
void g_free(void *memory);
void g_object_unref(void *object);
unsigned long g_signal_connect_data(void *instance, const char *signal, void (*handler)(void *, void *),
                                    void *data, void *destroy_data, int flags);
void g_signal_handler_disconnect(void *instance, unsigned long handler);
"""


class AravisError(StreamerError):
    """Aravis could not do what it was asked.

    Attributes:
        gone: because the camera does not answer, or answers to somebody else: it may later.
    """

    def __init__(self, text: str, *, gone: bool) -> None:
        super().__init__(text)
        self.gone = gone


@dataclass(frozen=True)
class Found:
    """A camera that Aravis sees; `physical` is its hardware address or the like."""

    id: str
    serial: str
    address: str
    physical: str
    model: str

    def is_named(self, name: str) -> bool:
        """Whether somebody may call it so."""
        return name in {self.id, self.serial, self.address, self.physical}


class Library:
    """Aravis, opened. Its calls let other threads run; what it returns belongs to who asked."""

    def __init__(self) -> None:
        try:
            import cffi  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise StreamerError(_MISSING.format(why=error)) from None
        self.ffi: Any = cffi.FFI()
        self.ffi.cdef(_DECLARATIONS)
        try:
            self.lib: Any = self.ffi.dlopen(_LIBRARY)
        except OSError as error:
            raise StreamerError(_MISSING.format(why=printable(error))) from None
        self._device_errors = self.lib.arv_device_error_quark()

    def call(self, function: str, *values: Any) -> Any:
        """A call that may fail: its result.

        Raises:
            AravisError: it did.
        """
        failure = self.ffi.new("GError **")
        result = getattr(self.lib, function)(*map(self._as_c, values), failure)
        error = failure[0]
        if error == self.ffi.NULL:
            return result
        text, of_device, code = self.text(error.message), error.domain == self._device_errors, error.code
        self.lib.g_error_free(error)
        raise AravisError(text, gone=of_device and code in _GONE)

    def text(self, pointer: Any) -> str:
        """Of the C string that a camera or Aravis gave; "" for none."""
        if pointer == self.ffi.NULL:
            return ""
        return printable(self.ffi.string(pointer).decode("utf-8", "replace"))

    def texts(self, function: str, *values: Any) -> list[str]:
        """Of a call that gives an array of strings.

        Raises:
            AravisError: it failed.
        """
        count = self.ffi.new("unsigned int *")
        found = self.call(function, *values, count)
        try:
            return [self.text(found[i]) for i in range(count[0] if found != self.ffi.NULL else 0)]
        finally:
            self.lib.g_free(found)

    def bounds(self, function: str, *values: Any) -> tuple[float, float]:
        """Of a call that gives the least and the largest number.

        Raises:
            AravisError: it failed.
        """
        low, high = self.ffi.new("double *"), self.ffi.new("double *")
        self.call(function, *values, low, high)
        return low[0], high[0]

    def owned(self, pointer: Any) -> Any:
        """A GObject, given back when it is released or nobody holds it any more."""
        return self.ffi.gc(pointer, self.lib.g_object_unref)

    def release(self, owned: Any) -> None:
        """Give a GObject back now."""
        self.ffi.release(owned)

    def has(self, function: str) -> bool:
        """Whether this version of Aravis knows a call."""
        return hasattr(self.lib, function)

    def handler(self, told: Callable[[], None]) -> Any:
        """What a GObject's signal calls, from a thread of Aravis's own; to be held as long as it may."""
        return self.ffi.callback("void(void *, void *)", lambda instance, data: told())

    def cameras(self) -> list[Found]:
        """Those that answer within about a second, on every network and USB of this machine."""
        self.lib.arv_update_device_list()
        return [
            Found(
                *(
                    self.text(getattr(self.lib, f"arv_get_device_{what}")(i))
                    for what in ("id", "serial_nbr", "address", "physical_id", "model")
                )
            )
            for i in range(self.lib.arv_get_n_devices())
        ]

    def _as_c(self, value: Any) -> Any:
        return value.encode() if isinstance(value, str) else value


@cache
def library() -> Library:
    """Aravis, opened once.

    Raises:
        StreamerError: it is not installed; the line says how it is.
    """
    return Library()
