"""`musc-online`: each command under one name, imported when it is called; help, versions, pages."""

import re
import shlex
import sys
from importlib import metadata
from unittest.mock import patch

import click
import pytest
from click.testing import CliRunner
from command_support import ROOT, all_commands, python

from bench import cli
from bench.cli import COMMANDS, NAME, main
from streamer import config_option
from streamer.commands import Command, start
from streamer.shipped import shipped

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [*PAGES, *sorted((ROOT / "configs").rglob("*.y*ml"))]
MODULES = (
    "bench.cost",
    "bench.demo_data",
    "bench.page.command",
    "bench.rscin",
    "bench.scale.command",
    "streamer.demo",
    "streamer.demo_page",
)
"""Commands that are no part of the group."""


def examples_of(command):
    lines = (command.epilog or "").splitlines()
    assert lines[:2] == ["\b", "Examples:"]
    return [line.strip() for line in lines[2:] if line.startswith("  ")]


def parsed(words, command):
    """Nothing; a context of click's own for the words of an example, or the error it ends with."""
    # The configuration that it names need not be there.
    with patch.object(config_option, "shipped", dict):
        _parsed(words, command)


def _parsed(words, command):
    shell = next((at for at, word in enumerate(words) if word in {">", ">>", "2>", "|", "&"}), len(words))
    with command.make_context(words[0], words[1:shell]) as context:
        if isinstance(command, click.Group) and context._protected_args:
            name, below, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            _parsed([f"{words[0]} {name}", *rest], below)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_groups_help_says_what_the_commands_own_says_first(name):
    own = COMMANDS[name].load().help
    assert own.splitlines()[0] == COMMANDS[name].line
    assert len(f"  completion  {COMMANDS[name].line}") < 80


def test_the_help_of_the_group_imports_no_command():
    code = (
        "import sys; from bench.cli import COMMANDS, main\n"
        "status = main.main(sys.argv[1:], standalone_mode=False)\n"
        "ours = {lazy.module for lazy in COMMANDS.values()} - {'bench.cli'}\n"
        'sys.exit(f\'{(ours | {"torch", "zmq", "numpy", "cv2"}) & set(sys.modules)}\')'
    )
    for words in (["-h"], ["--version"], ["config"], ["nonsense"]):
        done = python("-c", code, *words)
        assert done.stderr.splitlines()[-1] == "set()", words


def test_no_help_imports_what_takes_seconds():
    code = (
        "import sys; from bench.cli import COMMANDS, main\n"
        "said = [main.main([name, '-h'], standalone_mode=False) for name in COMMANDS]\n"
        'sys.exit(f\'{said} {sorted({"torch", "faiss", "sklearn", "matplotlib"} & set(sys.modules))}\')'
    )
    done = python("-c", code)
    assert done.stderr == f"{[0] * len(COMMANDS)} []\n"
    assert done.stdout.count("Usage: ") == len(COMMANDS)


def test_every_option_says_what_it_is_and_every_command_shows_how_it_is_typed():
    seen = 0
    for name, command in all_commands():
        assert 1 <= len(examples_of(command)) <= 4, name
        for option in command.params:
            if isinstance(option, click.Option):
                seen += 1
                assert re.fullmatch(r"[^\n]*\S[.\]]", option.help or ""), f"{name} {option.opts[0]}"
    assert seen > 100


def test_every_example_can_be_typed():
    for name, command in all_commands():
        for example in examples_of(command):
            words = shlex.split(example)
            assert words[0] == NAME, f"{name}: {example}"
            parsed(words, main)
    for module in MODULES:
        lines = examples_of(cli.Lazy(module, "").load())
        for words in map(shlex.split, lines):
            assert words[:3] == ["python", "-m", module.removesuffix(".command")]
            parsed(words[2:], cli.Lazy(module, "").load())


@pytest.mark.parametrize("words", ["statuss", "status --endpont x", "speed servic", "fuzz --messages many"])
def test_an_example_that_cannot_be_typed_would_be_found(words):
    with pytest.raises(click.UsageError):
        parsed([NAME, *words.split()], main)


def test_both_ways_of_asking_for_help_work_everywhere():
    for name, command in all_commands():
        texts = {CliRunner().invoke(command, [asked], prog_name=name).stdout for asked in ("-h", "--help")}
        assert len(texts) == 1
        assert texts.pop().startswith(f"Usage: {name} ")


def test_every_help_fits_a_terminal_of_80_columns_and_breaks_no_word(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    modules = [(f"python -m {name.removesuffix('.command')}", cli.Lazy(name, "").load()) for name in MODULES]
    for name, command in [*all_commands(), *modules]:
        shown = CliRunner().invoke(command, ["-h"], prog_name=name).stdout
        assert [line for line in shown.splitlines() if len(line) > 80] == [], name
        usage, own = shown.partition("\n\n")[0].split(), arguments_of(command)
        assert usage[len(usage) - len(own) :] == own, name


def arguments_of(command):
    """As its usage should end, in whole words."""
    own = [one for one in command.params if isinstance(one, click.Argument)]
    return [word for one in own for word in one.make_metavar(click.Context(command)).split()]


def test_usage_is_of_what_was_typed():
    for words in (["musc_online", "status"], ["bench.verdict"]):
        assert python("-m", *words, "-h").stdout.startswith(f"Usage: python -m {' '.join(words)} [OPTIONS]")


def test_without_a_command_the_help_is_shown_as_it_is():
    done = CliRunner().invoke(main, [], prog_name=NAME)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == CliRunner().invoke(main, ["-h"], prog_name=NAME).stdout


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("stats", "error: no command 'stats': did you mean status?\n"),
        ("replya", "error: no command 'replya': did you mean replay?\n"),
        ("qqq", f"error: no command 'qqq': expected one of {', '.join(COMMANDS)}\n"),
        ("\x1b[31m", f"error: no command '\\x1b[31m': expected one of {', '.join(COMMANDS)}\n"),
    ],
)
def test_a_mistyped_command_is_told_with_what_was_meant(typed, said):
    done = CliRunner().invoke(main, [typed])
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", said)


def test_the_version_is_of_all_that_figures_depend_on():
    done = CliRunner().invoke(main, ["--version"])
    first, python, torch, faiss = done.stdout.splitlines()
    assert first.startswith(f"{NAME} ")
    assert python == f"Python {sys.version.split()[0]}"
    assert re.fullmatch(r"torch (\d+\.\d+\S*|not installed)", torch)
    assert re.fullmatch(r"faiss(-cpu|-gpu)? (\d+\.\d+\S*|not installed)", faiss)


def test_what_is_not_installed_has_no_version(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert cli.versions().splitlines()[0] == f"{NAME} (not installed)"
    assert cli.versions().splitlines()[2:] == ["torch not installed", "faiss not installed"]


def test_shipped_configurations_are_listed_and_printed_as_they_are():
    listed = CliRunner().invoke(main, ["config"]).stdout.splitlines()
    assert listed == [*shipped()]
    assert {"line", "board", "paper", "page", "bridge-mqtt"} < set(listed)
    for name, path in shipped().items():
        done = CliRunner().invoke(main, ["config", name])
        assert done.stdout_bytes == path.read_bytes(), name
    done = CliRunner().invoke(main, ["config", "../line"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "no configuration '../line', expected one of board, " in done.stderr


def code_of(page):
    """What a page shows as typed; of a configuration all of it."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL) if page.suffix == ".md" else [text]


@pytest.mark.parametrize("page", TEXTS, ids=lambda path: path.name)
def test_what_a_page_says_to_type_is_a_command(page):
    # Of a page only where a command begins: output that it shows may name the program in a sentence.
    begins = r"(?:^|[`/(]|[$&|] )" if page.suffix == ".md" else r"\b"
    for code in code_of(page):
        for name in re.findall(rf"{begins}{NAME} ([a-z_]+)\b", code, re.MULTILINE):
            assert name in COMMANDS, f"{page.name}: {NAME} {name}"
        if code.startswith("```"):
            for line in re.findall(rf"^(?:\S*/|\$ )?({NAME} .*[^\\])$", code, re.MULTILINE):
                parsed(shlex.split(line, comments=True), main)


def test_pages_were_read():
    assert sum(f"{NAME} serve" in page.read_text(encoding="utf-8") for page in TEXTS) > 3


def test_a_missing_module_of_our_own_is_a_fault():
    @click.command(cls=Command)
    def broken():
        import no_such_module_of_ours  # noqa: F401, PLC0415

    done = CliRunner().invoke(broken, [])
    assert done.exit_code == 3
    assert "No module named 'no_such_module_of_ours'" in done.stderr


def test_what_python_m_starts_ends_with_the_commands_status(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.replay", "mvtec", "--data", "/nope"])
    with pytest.raises(SystemExit) as ended:
        start("bench.replay.command", "command")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: /nope")
