"""Commands where no extra is installed: each explains itself, a run says what is missing."""

import pytest
from command_support import core_only, python

from bench.cli import COMMANDS

__all__ = ["core_only"]


def test_without_extras_every_command_explains_itself(core_only):
    code = (
        "import sys; from bench.cli import COMMANDS, main\n"
        "sys.exit(str([main.main([name, '-h'], standalone_mode=False) for name in COMMANDS]))"
    )
    done = python("-c", code, env=core_only)
    assert done.stderr == f"{[0] * len(COMMANDS)}\n"
    assert done.stdout.count("Usage: ") == len(COMMANDS)


@pytest.mark.parametrize(
    ("words", "missing", "extra"),
    [
        ("musc_online replay demo", "pydantic", "detector,replay"),
        ("bench.replay demo", "pydantic", "detector,replay"),
        ("bench.demo", "pydantic", "detector"),
        ("bench.soak", "yaml", "detector"),
    ],
)
def test_a_missing_extra_is_one_line_however_it_is_called(words, missing, extra, core_only, tmp_path):
    done = python("-m", *words.split(), env=core_only, cwd=tmp_path)
    told = f"error: {missing} is not installed; pip install 'musc-online[{extra}]' brings it\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)
    assert list(tmp_path.iterdir()) == []
