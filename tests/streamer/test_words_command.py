"""`python -m streamer.operate` and what `subscribe` shows of operators' words."""

import re

import pytest
from click.testing import CliRunner
from operator_support import changed_over, learned, line_config, words
from streamer_support import PATIENCE_S, backbone, serving

from streamer.describe import describe
from streamer.operate import main as operate_main
from streamer.wire.published import Message

pytestmark = pytest.mark.engines("always")

__all__ = ["backbone"]


def test_the_command_line_says_it_too(backbone):
    def said(*options):
        arguments = [*options, "--endpoint", service.endpoints["control"], "--timeout", str(PATIENCE_S)]
        done = CliRunner().invoke(operate_main, arguments)
        return done.exit_code, (done.stdout if done.exit_code == 0 else done.stderr).strip().splitlines()

    on_line = ("--stream", "line")
    with serving(line_config(), backbone) as service:
        learned(service)
        group = str(changed_over(service)["group"])
        done = said("confirm", *on_line, "--frame-id", "a1", "--verdict", "good", "--who", "anna")
        assert done[0] == 0
        assert done[1][0].startswith(
            "confirm: done, stream line, frame_id a1, known_frames 1, threshold 0.12,"
        )
        status, lines = said("threshold", *on_line, "--value", "0", "--preview")
        assert status == 0
        assert re.fullmatch(r"threshold: would be 0\.0000 \(fixed\), is 0\.1200 \(fixed\)", lines[0])
        assert lines[1:] == [
            "frames in the ring that become anomalous: 39 (..., a32, a33, a34, a35, a36, a37, a38, a39)",
            "frames in the ring that become normal: 0",
            "confirmed frames labelled wrongly: 1, before 0 (a1)",
        ]
        assert said("reject", *on_line, "--group", group, "--name", "wrong part")[1] == [
            f"reject: done, stream line, group {group}, n_frames 8, name wrong part, images 40, pinned 0"
        ]
        assert said("accept", *on_line, "--group", group)[1][0].startswith(
            f"accept: done, stream line, group {group}, n_frames 8, images"
        )
        assert said("accept", *on_line, "--group", group) == (
            2,
            [f"error: group: got {group}, expected one of none"],
        )
        assert said("confirm", *on_line) == (
            2,
            ["error: confirm: needs --stream, --frame-id and --verdict"],
        )
        assert said("threshold") == (2, ["error: threshold: needs --stream"])
        assert said("threshold", *on_line)[1][0].startswith("error: threshold: expected at least one of")
        status, lines = said("threshold", *on_line, "--false-alarms", "0.01")
        assert re.fullmatch(r"threshold: is 0\.\d{4} \(auto\), was 0\.1200 \(fixed\)", lines[0])
        assert [word["who"] for word in words(service)] == ["anna", None, None, None]
        assert [word["what"] for word in words(service)] == ["confirm", "reject", "accept", "threshold"]


def test_the_help_has_examples():
    said = CliRunner().invoke(operate_main, ["--help"]).stdout
    assert "operate threshold --stream line --false-alarms 0.005 --preview" in said


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (
            {"rule": "auto", "threshold": None},
            {"rule": "auto", "threshold": 0.5},
            ": threshold none to 0.5000",
        ),
        ({"name": None, "n_frames": 3}, None, ": was name none, n_frames 3"),
        ({"truth": "good"}, {"truth": "good"}, ""),
    ],
)
def test_what_a_word_changed_reads_well(before, after, line):
    word = {"kind": "operator", "who": None, "what": "x", "group": 3, "before": before, "after": after}
    assert describe(Message(word, "line/operator")).plain.endswith(f"x group 3{line}")


def test_needs_are_said_before_anybody_is_asked():
    done = CliRunner().invoke(operate_main, ["reject", "--stream", "a", "--endpoint", "tcp://127.0.0.1:1"])
    assert (done.exit_code, done.stderr) == (2, "error: reject: needs --stream, --group and --name\n")
