"""Aravis's own fake camera of GigE Vision: a process on loopback that can be killed and started again."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from streamer_support import PATIENCE_S, until

from streamer.errors import StreamerError
from streamer.sources.genicam import GenicamCamera
from streamer.sources.genicam.aravis import library

PROGRAM = "arv-fake-gv-camera-0.8"
NEEDS = "Debian's packages aravis-tools and libaravis-0.8-0"


def why_not() -> str:
    """Why no fake camera can be started here; "" where one can."""
    if shutil.which(PROGRAM) is None:
        return f"{PROGRAM} is not there: install {NEEDS}"
    try:
        library()
    except StreamerError as error:
        return str(error)
    return ""


needs_fake_camera = pytest.mark.skipif(bool(why_not()), reason=why_not())


class FakeCamera:
    """One at a time on a machine: the standard gives cameras one port."""

    def __init__(self, serial: str, *options: str) -> None:
        self.serial, self._options = serial, options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def source(self) -> str:
        """Its quickest name: nobody else is asked."""
        return "genicam:127.0.0.1"

    def start(self) -> None:
        """Return once it answers."""
        command = [PROGRAM, "-i", "127.0.0.1", "-s", self.serial, *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(self._answers)

    def kill(self) -> None:
        """As if its plug was pulled; of one that is not there nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
            self._process = None

    def hold(self, held: bool) -> None:
        """Stop it as it is, or let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if held else signal.SIGCONT)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{PROGRAM} ended with {self._process.returncode}"
        return any(one.serial == self.serial for one in library().cameras())


@contextmanager
def fake_camera(serial: str, *options: str) -> Iterator[FakeCamera]:
    """A camera that answers; tests of other processes that want one wait their turn."""
    with _turn():
        camera = FakeCamera(serial, *options)
        try:
            camera.start()
            yield camera
        finally:
            camera.kill()


class Registers:
    """What a camera that was opened holds, by calls of Aravis's that the program itself has no use for."""

    def __init__(self, camera: GenicamCamera) -> None:
        import cffi  # noqa: PLC0415 - the tests of what needs none do without it

        streaming, aravis = camera._streaming, camera._aravis
        assert streaming is not None
        self._ffi = cffi.FFI()
        self._ffi.cdef(
            "double arv_camera_get_exposure_time(void *, void **);"
            "double arv_camera_get_gain(void *, void **);"
            "double arv_camera_get_frame_rate(void *, void **);"
            "void arv_camera_software_trigger(void *, void **);"
            "void arv_camera_clear_triggers(void *, void **);"
            "unsigned int arv_camera_gv_get_packet_size(void *, void **);"
            "void arv_stream_get_n_buffers(void *, int *, int *);"
        )
        self._lib = self._ffi.dlopen("libaravis-0.8.so.0")
        self._camera, self._stream = (
            self._ffi.cast("void *", int(aravis.ffi.cast("uintptr_t", one)))
            for one in (streaming._camera, streaming._stream)
        )

    def get(self, what: str) -> float:
        return float(getattr(self._lib, f"arv_camera_{what}")(self._camera, self._ffi.NULL))

    def trigger(self) -> None:
        self._lib.arv_camera_software_trigger(self._camera, self._ffi.NULL)

    def clear_triggers(self) -> None:
        self._lib.arv_camera_clear_triggers(self._camera, self._ffi.NULL)

    def n_waiting(self) -> int:
        """Pictures that came and were not read."""
        free, filled = self._ffi.new("int *"), self._ffi.new("int *")
        self._lib.arv_stream_get_n_buffers(self._stream, free, filled)
        return int(filled[0])


@contextmanager
def _turn() -> Iterator[None]:
    # A name that the kernel forgets with the process that has it: nothing is left behind.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
        end = time.monotonic() + 4 * PATIENCE_S
        while True:
            with suppress(OSError):
                held.bind("\0musc-online-tests-genicam")
                break
            assert time.monotonic() < end, "another test keeps the fake camera"
            time.sleep(0.1)
        yield
