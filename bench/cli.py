"""`musc-online`: every command under one name, each imported when it is called."""

import difflib
import importlib
import io
import platform
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from bench.commands import Group
from bench.machine import installed
from streamer.commands import examples
from streamer.printable import printable
from streamer.shipped import shipped

NAME = "musc-online"
_VARIABLE = "_MUSC_ONLINE_COMPLETE"
"""As click makes it of the name: the shell's script sets it."""


@dataclass(frozen=True)
class Lazy:
    """A command that has not been imported yet.

    Attributes:
        module: where it is.
        line: the first sentence of its help.
        attribute: its name in the module.
    """

    module: str
    line: str
    attribute: str = "main"

    def load(self) -> click.Command:
        """The command itself."""
        found: click.Command = getattr(importlib.import_module(self.module), self.attribute)
        return found


SECTIONS: dict[str, dict[str, Lazy]] = {
    "Run it": {
        "serve": Lazy("streamer.serve", "Score the frames that come in and publish the scores."),
        "publish": Lazy("streamer.publish", "Send images of a folder, a video or a camera to a detector."),
        "subscribe": Lazy("streamer.subscribe", "Print what a detector publishes, as it comes."),
        "status": Lazy("streamer.status", "Ask a detector how it is."),
        "operate": Lazy("streamer.operate", "Tell a detector what you know of a frame, or what to do."),
        "page": Lazy("streamer.page.__main__", "Show what a detector finds in a browser, live and for days."),
        "bridge": Lazy("streamer.bridge", "Hand on what a detector says: MQTT, webhook, OPC UA, files."),
        "keys": Lazy("streamer.keys", "Make CURVE keys for a detector and its peers in FOLDER."),
    },
    "Try it": {
        "demo": Lazy("bench.demo", "Show what a detector says of a line of parts."),
        "replay": Lazy(
            "bench.replay.command", "Replay DATASET as a stream and compare it with the batch.", "command"
        ),
        "verdict": Lazy("bench.verdict.command", "Say what labels are worth at several shares of defects."),
        "options": Lazy("bench.options.command", "Compare options on DATASET, as a batch and as a stream."),
    },
    "Measure it": {
        "speed": Lazy("bench.speed.command", "Measure speed: batch, online, scaling, and a whole service."),
        "load": Lazy("bench.load.command", "Drive a detector with several cameras: is any frame lost?"),
        "fuzz": Lazy("bench.fuzz.command", "Attack detectors of its own with what was seen to hurt."),
        "soak": Lazy("bench.soak", "Send thousands of frames, and see whether memory stays flat."),
    },
    "Set it up": {
        "config": Lazy("bench.cli", "Print the shipped configuration NAME, or list them all.", "config"),
        "completion": Lazy(
            "bench.cli", "Print what makes SHELL complete commands and options.", "completion"
        ),
    },
}
"""Commands by what people want, in the order of the help. A test holds each line to the command's own."""

COMMANDS: dict[str, Lazy] = {name: lazy for section in SECTIONS.values() for name, lazy in section.items()}


class _LazyGroup(Group):
    """A group that imports a command when it is called or its own help is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the help."""
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, imported now; None for another name."""
        lazy = COMMANDS.get(cmd_name)
        return None if lazy is None else lazy.load()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click's; a name that is no command is told with those that look like it."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, COMMANDS, n=3, cutoff=0.5)
            known = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command '{printable(name)}': {known}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, with the first sentence of each."""
        widest = max(map(len, COMMANDS))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                rows = [(name.ljust(widest), lazy.line) for name, lazy in section.items()]
                formatter.write_dl(rows)

    def _main_shell_completion(self, *args: Any, **more: Any) -> None:
        """Click's, in silence: what is said while a shell completes stands in what a person types."""
        with redirect_stderr(io.StringIO()):
            try:
                super()._main_shell_completion(*args, **more)
            except Exception:
                raise SystemExit(1) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands without an import, then click's own: options."""
        if not incomplete or incomplete[0].isalnum():
            return [
                CompletionItem(name, help=lazy.line)
                for name, lazy in COMMANDS.items()
                if name.startswith(incomplete)
            ]
        return click.Command.shell_complete(self, ctx, incomplete)


def versions() -> str:
    """Versions of this program and of what its figures depend on, a line each; nothing is imported."""
    lines = [f"{NAME} {installed(NAME) or '(not installed)'}", f"Python {platform.python_version()}"]
    for names in (("torch",), ("faiss-cpu", "faiss-gpu")):
        found = [f"{name} {number}" for name in names if (number := installed(name))]
        lines.append(", ".join(found) or f"{names[0].partition('-')[0]} not installed")
    return "\n".join(lines)


def _tell_versions(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(versions())
        context.exit()


@click.group(
    cls=_LazyGroup,
    epilog=examples(
        f"{NAME} demo",
        f"{NAME} config line > line.yaml",
        f"{NAME} serve --config line.yaml",
        f"{NAME} publish --source parts/ --stream line-1",
    )
    + f"\n\n`{NAME} COMMAND -h` says more of each.",
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_tell_versions,
    help="Print the versions of this, Python, torch and faiss, and end.",
)  # fmt: skip
def main() -> None:
    """Find defects on a line as its parts pass: no labels, no training."""


def _shipped(_context: click.Context, _argument: click.Parameter, typed: str) -> list[str]:
    return [name for name in shipped() if name.startswith(typed)]


@click.command(
    cls=Group.command_class,
    epilog=examples(f"{NAME} config", f"{NAME} config line > line.yaml"),
)
@click.argument("name", required=False, shell_complete=_shipped)
def config(name: str | None) -> None:
    """Print the shipped configuration NAME, or list them all.

    Every option is in it with what it does; change what you need, and give the file to --config.
    """
    known = shipped()
    if name is None:
        for one in known:
            click.echo(one)
        return
    path = known.get(name)
    if path is None:
        raise click.UsageError(f"no configuration '{printable(name)}', expected one of {', '.join(known)}")
    click.echo(path.read_text(encoding="utf-8"), nl=False)


_HOW = {
    "bash": f'eval "$({NAME} completion bash)"  # in ~/.bashrc',
    "zsh": f'eval "$({NAME} completion zsh)"  # in ~/.zshrc, below compinit',
    "fish": f"{NAME} completion fish > ~/.config/fish/completions/{NAME}.fish",
}


@click.command(
    cls=Group.command_class,
    epilog=examples(f"{NAME} completion bash", f"{NAME} completion fish > {NAME}.fish"),
)
@click.argument("shell", type=click.Choice([*_HOW]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands and options.

    The first line says how it is installed.
    """
    kind: Any = get_completion_class(shell)
    click.echo(f"# {_HOW[shell]}")
    click.echo(kind(main, {}, NAME, _VARIABLE).source())


if __name__ == "__main__":
    main()
