"""`musc-online completion`: what shells are told, and what they then complete, in silence."""

import os
import shutil
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from command_support import PATIENCE_S, ROOT, core_only, python

from bench.cli import NAME, main
from streamer.bridges.registry import KNOWN

__all__ = ["core_only"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_clicks_own_and_says_how_it_is_installed(shell):
    done = CliRunner().invoke(main, ["completion", shell])
    first, *script = done.stdout.splitlines()
    assert first.startswith("# ")
    assert f"{NAME} completion {shell}" in first
    assert any(f"_MUSC_ONLINE_COMPLETE={shell}_complete" in line for line in script)
    if (program := shutil.which(shell)) is not None:
        checked = subprocess.run(
            [program, "-n"],
            input=done.stdout,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash: Debian's package bash has it")
def test_a_real_bash_completes_commands_and_options(tmp_path):
    program = tmp_path / NAME
    program.write_text(f"#!{sys.executable}\nfrom musc_online.__main__ import main\nmain()\n")
    program.chmod(0o755)
    # As readline does it: the words typed so far, the last one half typed, and the function of the script.
    script = f"""
    eval "$({NAME} completion bash)"
    complete -p {NAME}
    typed() {{
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _musc_online_completion {NAME}
        echo "${{COMPREPLY[*]}}"
    }}
    typed {NAME} st
    typed {NAME} status --end
    typed {NAME} speed ser
    typed {NAME} operate thr
    typed {NAME} config lin
    """
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment.pop("_MUSC_ONLINE_COMPLETE", None)
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        check=False, capture_output=True, text=True, env=environment, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == ["status", "--endpoint", "service", "threshold", "line"]
    assert done.stdout.splitlines()[0].endswith(f"-F _musc_online_completion {NAME}")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("config l", ["line"]),
        ("bridge ", sorted(KNOWN)),
        ("replay mvtec_", ["mvtec_ad2", "mvtec_loco"]),
        ("replay mvtec --save m", ["maps", "masks"]),
        ("completion z", ["zsh"]),
    ],
)
def test_what_an_argument_can_be_is_completed(typed, offered):
    *words, begun = typed.split(" ")
    found = ShellComplete(main, {}, NAME, "_MUSC_ONLINE_COMPLETE").get_completions(words, begun)
    assert [one.value for one in found] == offered


def test_completion_says_nothing_of_what_is_not_there(core_only):
    code = f"""
import os
from bench.cli import main
for typed in ("replay mvtec --save ", "bridge ", "verdict --", "nonsense --"):
    os.environ |= {{"COMP_WORDS": f"{NAME} {{typed}}", "COMP_CWORD": str(len(typed.split(" ")))}}
    main(prog_name="{NAME}", standalone_mode=False)
"""
    environment = {**core_only, "_MUSC_ONLINE_COMPLETE": "bash_complete"}
    done = python("-c", code, env=environment)
    assert done.stderr == ""
    assert "plain,mqtt" in done.stdout
    assert "plain,--rules" in done.stdout
