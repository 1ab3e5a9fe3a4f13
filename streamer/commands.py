"""How every command line of ours begins and ends: one place for exit status, broken output and signals.

0 done, 1 what the command itself says (docs/operate.md#exit-status), 2 what the user can mend, 3 a fault of
our own, 130 Ctrl-C, 129 and 143 SIGHUP and SIGTERM, 141 nobody reads the output any more.
"""

import importlib
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, ClassVar, NoReturn, TextIO

import click

from streamer.errors import StreamerError
from streamer.extras import missed
from streamer.printable import printable

MENDABLE = 2
LARGEST = 1e12
"""Of the numbers that options take: seconds, frames, bytes, seeds."""
OWN_FAULT = 3
INTERRUPTED = 128 + signal.SIGINT
NOBODY_READS = 128 + 13
"""As a shell says of SIGPIPE, which Windows does not have."""


_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""Of a group without a command; older clicks print the help themselves."""
_SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "show_default": True,
}


class _NobodyReads(Exception):  # noqa: N818  (says what is, as KeyboardInterrupt does)
    """Standard output or error has lost its reader. No OSError: click would call that 1."""


class Ending(click.Command):
    """What `Command` and `Group` share: whatever happens becomes an exit status.

    Attributes:
        mendable: errors that the user can mend, beside `StreamerError`, `OSError` and click's own: one line
            on standard error, and status 2.
    """

    mendable: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        options["context_settings"] = _SETTINGS | (options.get("context_settings") or {})
        super().__init__(*args, **options)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Click's, where a reader of `--help` may leave."""
        with _readers_leave():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Click's, where readers may leave."""
        for option in self.params:
            _check_number(ctx, option)
        with _readers_leave():
            return super().invoke(ctx)

    def main(self, args: Any = None, prog_name: str | None = None, *more: Any, **options: Any) -> Any:
        """Run the command line and exit; without `standalone_mode`, return the exit status instead."""
        standalone = options.pop("standalone_mode", True)
        parsed = partial(super().main, args, prog_name, *more, **options, standalone_mode=False)
        status = run(parsed, self.mendable)
        return sys.exit(status) if standalone else status


def _check_number(ctx: click.Context, option: click.Parameter) -> None:
    """Refuse what Python reads as a number and nobody can wait for: nan, inf, 1e300."""
    given = ctx.params.get(option.name or "")
    if isinstance(given, int | float) and not -LARGEST <= given <= LARGEST:
        raise click.BadParameter(f"got {given}, expected a number of at most {LARGEST:g}", ctx, option)


def examples(*lines: str) -> str:
    """The `epilog` of a command: what people type, a line each, as they type it."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


class Command(Ending):
    """`@click.command(cls=Command)`; the function returns the exit status, None for 0."""


class Group(Ending, click.Group):
    """`@click.group(cls=Group)`, with commands of its own kind."""

    command_class = Command


def run(work: Callable[[], Any], mendable: tuple[type[Exception], ...] = ()) -> int:
    """Do what a command line says, and give its exit status; nothing is raised.

    Args:
        work: does it; what it returns is the exit status, None for 0.
        mendable: as `Ending.mendable`.
    """
    _open_standard_streams()
    with _ended_by_signals():
        try:
            status = _status(work, mendable)
        except SystemExit as ended:  # a signal while the error was told
            status = _number(ended.code)
    return _flushed(status)


def start(module: str, name: str = "main") -> NoReturn:
    """Run a command line as `python -m` does, imported in here: what its import lacks is told in a line too.

    Args:
        module: that has it.
        name: its name there.

    Raises:
        SystemExit: always, with its exit status.
    """
    sys.exit(run(lambda: getattr(importlib.import_module(module), name).main(standalone_mode=False)))


def _status(  # noqa: PLR0911  (one line an ending)
    work: Callable[[], Any], mendable: tuple[type[Exception], ...]
) -> int:
    named: tuple[type[Exception], ...] = (StreamerError, *mendable)
    try:
        return _number(work())
    except SystemExit as ended:
        return _number(ended.code)
    except _NobodyReads:
        return NOBODY_READS
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.ClickException as error:
        if isinstance(error, _NO_ARGUMENTS):  # its message is the help
            error.show()
            return MENDABLE
        return _told(f"error: {_one_line(error.format_message())}", MENDABLE)
    except named as error:
        return _told(f"error: {error}", MENDABLE)
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        return _told(f"error: {_one_line(f'{where}{error.strerror or error}')}", MENDABLE)
    except ModuleNotFoundError as error:
        return _missing(error)
    except Exception:
        return _told(traceback.format_exc().rstrip(), OWN_FAULT)


def _missing(error: ModuleNotFoundError) -> int:
    """Of a module that an extra brings, its name and the extra; of any other a fault of our own."""
    if (line := missed(error)) is not None:
        return _told(f"error: {line}", MENDABLE)
    return _told(traceback.format_exc().rstrip(), OWN_FAULT)


def _number(code: Any) -> int:
    return 0 if code is None else code if isinstance(code, int) else _told(str(code), MENDABLE)


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _told(text: str, status: int) -> int:
    with suppress(OSError, ValueError):
        click.echo(text, err=True)
    return status


@contextmanager
def _readers_leave() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        if _lost_a_reader():
            raise _NobodyReads from None
        raise RuntimeError("a pipe that is not its output broke") from error  # click takes any for it
    except SystemExit as ended:
        # rich ends the process with 1 where nobody reads; 1 is a verdict here.
        if isinstance(ended.__context__, BrokenPipeError):
            raise _NobodyReads from None
        raise


def _lost_a_reader() -> bool:
    if not hasattr(select, "poll"):  # Windows, where no other pipe of ours breaks
        return True
    readers = select.poll()
    for number in (1, 2):
        readers.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in readers.poll(0))


def _open_standard_streams() -> None:
    """What was closed leads nowhere, lest a file take its number; what cannot be shown is spelt out."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    while nowhere <= 2:
        nowhere = os.open(os.devnull, os.O_RDWR)
    os.close(nowhere)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as an exception does: temporary folders and child processes too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_DFL]  # `nohup` ignores it
    for number in ours:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) == _end:  # a service has its own by now
                signal.signal(number, signal.SIG_DFL)


_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class _Waiting:
    """What `undisturbed` holds back."""

    depth = 0
    number: int | None = None


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back SIGTERM and SIGHUP, until what is started in here has a name by which it can be ended."""
    _Waiting.depth += 1
    try:
        yield
    finally:
        _Waiting.depth -= 1
        if _Waiting.number is not None and not _Waiting.depth:
            _end(_Waiting.number, None)


def _end(number: int, _frame: FrameType | None) -> None:
    if _Waiting.depth:
        _Waiting.number = number
        return
    _Waiting.number = None
    for one in _SIGNALS:  # another one must not cut short what this one begins
        signal.signal(one, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _flushed(status: int) -> int:
    """Flush both streams here: Python would do it at exit, with a status and words of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            status = _abandoned(stream, NOBODY_READS)
        except OSError as error:
            status = _abandoned(stream, MENDABLE)
            _told(f"error: {stream.name}: cannot be written ({error.strerror})", status)
        except ValueError:  # closed by who called us
            pass
    return status


def _abandoned(stream: TextIO, status: int) -> int:
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return status
