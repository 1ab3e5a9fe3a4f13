"""`musc-online`: every command under one name. A command's module is imported when it is called, no sooner."""

import difflib
import importlib
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from bench.commands import Group
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
        attribute: its name there.
        line: the first sentence of its help.
    """

    module: str
    attribute: str
    line: str

    def load(self) -> click.Command:
        """The command itself."""
        found: click.Command = getattr(importlib.import_module(self.module), self.attribute)
        return found


SECTIONS: dict[str, dict[str, Lazy]] = {
    "Run it": {
        "serve": Lazy("streamer.serve", "main", "Score the frames that come in over ZeroMQ and publish the scores, until SIGTERM or Ctrl-C."),
        "publish": Lazy("streamer.publish", "main", "Push the frames of a source to a detector, and say what became of them."),
        "subscribe": Lazy("streamer.subscribe", "main", "Print what a detector publishes, as it comes: what matters, or the kinds asked for."),
        "status": Lazy("streamer.status", "main", "Ask a detector how it is."),
        "operate": Lazy("streamer.operate", "main", "Tell a detector something about a frame, a group of frames, a stream, or itself."),
        "page": Lazy("streamer.page.__main__", "main", "Show what a detector finds, live and for days, until SIGTERM or Ctrl-C."),
        "bridge": Lazy("streamer.bridge", "main", "Hand on what a detector says until SIGTERM or Ctrl-C."),
        "keys": Lazy("streamer.keys", "main", "Make the detector's key pair and one pair a peer in FOLDER; existing keys are kept."),
    },
    "Try it": {
        "demo": Lazy("bench.demo", "main", "Show what a detector says of a line of parts."),
        "replay": Lazy("bench.replay.command", "command", "Replay DATASET as a stream and compare it with the batch."),
        "verdict": Lazy("bench.verdict.command", "main", "What labels are worth: each category of DATASET at several shares of defective images."),
        "options": Lazy("bench.options.command", "main", "Score each category of DATASET with every option, as a batch and as a stream, and compare."),
    },
    "Measure it": {
        "speed": Lazy("bench.speed.command", "main", "Measure mutual scoring: batch, online, bytes, scaling; and the whole service around it."),
        "load": Lazy("bench.load.command", "main", "Drive a server with several cameras."),
        "fuzz": Lazy("bench.fuzz.command", "main", "Attack servers of its own: malformed messages, and what else was seen to hurt."),
        "soak": Lazy("bench.soak", "main", "Push frames of changing size through two streams and see whether memory stays flat."),
    },
    "Set it up": {
        "config": Lazy("bench.cli", "config", "Print the shipped configuration NAME, or list them all."),
        "completion": Lazy("bench.cli", "completion", "Print what makes SHELL complete commands and options."),
    },
}  # fmt: skip
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
    lines = [f"{NAME} {_installed(NAME) or '(not installed)'}", f"Python {platform.python_version()}"]
    for names in (("torch",), ("faiss-cpu", "faiss-gpu")):
        found = [f"{name} {number}" for name in names if (number := _installed(name))]
        lines.append(", ".join(found) or f"{names[0].partition('-')[0]} not installed")
    return "\n".join(lines)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _tell_versions(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(versions())
        context.exit()


@click.group(
    cls=_LazyGroup,
    epilog=f"""\b
Examples:
  {NAME} demo
  {NAME} config line > line.yaml
  {NAME} serve --config line.yaml
  {NAME} publish --source parts/ --stream line-1

`{NAME} COMMAND -h` says more of each.""",
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_tell_versions,
    help="Print the versions of this, Python, torch and faiss, and end.",
)  # fmt: skip
def main() -> None:
    """Find defects on a line as its parts pass: no labels, no training."""


@click.command(
    cls=Group.command_class,
    epilog=f"""\b
Examples:
  {NAME} config
  {NAME} config line > line.yaml""",
)
@click.argument("name", required=False)
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
    epilog=f"""\b
Examples:
  {NAME} completion bash
  {NAME} completion fish > {NAME}.fish""",
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
