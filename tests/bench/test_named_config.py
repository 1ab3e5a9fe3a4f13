"""`--config line` where there is no such file: every command says how to get the shipped one."""

import pytest
from click.testing import CliRunner
from command_support import all_commands

from bench.cli import NAME, main
from streamer.config_option import ConfigFile

CONFIGURED = {
    "serve": "",
    "page": "",
    "bridge": "mqtt",
    "replay": "mvtec --data .",
    "verdict": "mvtec --data .",
    "options": "mvtec --data .",
    "load": "",
}


@pytest.mark.parametrize("name", CONFIGURED)
def test_the_name_of_a_shipped_configuration_is_no_file_and_the_error_says_how_to_get_one(
    name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = [name, *CONFIGURED[name].split(), "--config"]
    for given in ("line", "line.yaml", "configs/line.yaml"):
        done = CliRunner().invoke(main, [*words, given])
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert f"{given} is not there; `musc-online config line > line.yaml` writes" in done.stderr
    done = CliRunner().invoke(main, [*words, "lines"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "musc-online config" not in done.stderr


def test_every_command_that_takes_a_configuration_knows_those_that_are_shipped():
    assert {
        name.removeprefix(f"{NAME} ")
        for name, command in all_commands()
        for option in command.params
        if "--config" in option.opts and isinstance(option.type, ConfigFile)
    } == CONFIGURED.keys()
