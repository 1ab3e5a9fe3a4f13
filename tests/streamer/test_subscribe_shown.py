"""What `subscribe` shows of all that is published, and how each kind reads."""

import io
import json
import re
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import structlog
import zmq
from click.testing import CliRunner
from rich.console import Console
from streamer_support import PATIENCE_MS, PATIENCE_S, backbone, control, until, watched

from streamer.describe import describe
from streamer.server import logs
from streamer.subscribe import Subscriber, Verdicts
from streamer.subscribe import main as subscribe_main
from streamer.wire.published import KINDS, Message, pack_message

__all__ = ["backbone"]

EVENT = {
    "kind": "event",
    "event": "repeat",
    "group": 3,
    "frame_ids": ["part-7", "part-9"],
    "since": "part-7",
    "n_frames": 2,
    "regions": [[10, 20, 30, 40, 0.8], [1, 2, 3, 4, 0.7]],
    "name": None,
    "event_ns": 1,
}
OPERATOR = {
    "kind": "operator",
    "who": "anna",
    "what": "threshold",
    "frame_id": None,
    "before": 0.25,
    "after": 0.5,
    "operator_ns": 1,
}
END = {"kind": "error", "frame_id": None, "code": "internal", "text": "the end"}


def label(kind, frame_id, pred_label, **more):
    return {"kind": kind, "frame_id": frame_id, "pred_label": pred_label, "state": "ready", **more}


@contextmanager
def detector(messages):
    """One who publishes these on a real socket once somebody has subscribed; its endpoint."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.setsockopt(zmq.LINGER, PATIENCE_MS)
        socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        port = socket.bind_to_random_port("tcp://127.0.0.1")

        def publish():
            assert socket.recv()[:1] == b"\x01"  # a subscription
            for number, message in enumerate(messages):
                fields = {"stream": "line", "pub_seq": number, **message}
                socket.send_multipart(pack_message(f"{fields['stream']}/{fields['kind']}", fields))

        publisher = threading.Thread(target=publish)
        publisher.start()
        yield f"tcp://127.0.0.1:{port}"
        publisher.join(PATIENCE_S)
        assert not publisher.is_alive()


def shown(messages, *options):
    """Numbers of the messages that the command shows, up to the last one, which is of a kind it shows."""
    count, numbers = 0, []
    while not numbers or numbers[-1] != len(messages) - 1:
        count += 1
        with detector(messages) as endpoint:
            arguments = ["--endpoint", endpoint, "--json", "--count", str(count), *options]
            done = CliRunner().invoke(subscribe_main, arguments)
        assert done.exit_code == 0, done.output
        numbers = [json.loads(line)["pub_seq"] for line in done.stdout.splitlines()]
    return numbers


MESSAGES = [
    label("score", "a", None),
    {"kind": "status", "state": "ready"},
    label("revision", "a", None),  # the same
    label("revision", "a", True, revision=2),  # 3: a verdict at last
    label("revision", "a", True, revision=3),
    label("revision", "a", False, stream="other"),  # another stream's, not heard of before
    label("score", 1, False),  # 6
    label("revision", "1", True),  # another frame's
    EVENT,  # 8
    OPERATOR,
    {"kind": "surprise", "frame_id": "a"},
    label("revision", 1, True),  # 11
    label("revision", 1, False, is_final=True),  # 12
    label("revision", "a", True, is_final=True),
    {"kind": "dropped", "frame_id": 2, "reason": "drop_oldest"},  # 14
    label("revision", "1", False),  # 15: against the one that was only taken note of
    END,
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [0, 3, 6, 8, 11, 12, 14, 15, 16]),
        (("--kind", "revision", "--kind", "error"), [2, 3, 4, 5, 7, 11, 12, 13, 15, 16]),
        (("--kind", "operator", "--kind", "event", "--kind", "error"), [8, 9, 16]),
        (
            tuple(word for kind in KINDS for word in ("--kind", kind)),
            [n for n, message in enumerate(MESSAGES) if message["kind"] != "surprise"],
        ),
    ],
    ids=["by default", "revisions", "operators", "all"],
)
def test_what_is_shown(options, expected):
    assert shown(MESSAGES, *options) == expected


def test_a_program_hears_every_kind_it_knows_and_passes_over_others():
    with (
        detector([EVENT, {"kind": "surprise"}, OPERATOR, label("revision", 1, None), END]) as endpoint,
        Subscriber(endpoint, timeout_s=PATIENCE_S) as subscriber,
    ):
        heard = [subscriber.receive().kind for _ in range(4)]
    assert heard == ["event", "operator", "revision", "error"]
    before = ("score", "revision", "dropped", "error", "status")  # what a subscriber of before knows
    with (
        detector([EVENT, OPERATOR, label("score", 1, None)]) as endpoint,
        Subscriber(endpoint, kinds=before, timeout_s=PATIENCE_S) as subscriber,
    ):
        assert subscriber.receive().kind == "score"


def test_a_real_detector_s_revisions_are_shown_where_they_change_a_verdict(backbone):
    with watched(backbone, revise={"every": 3}) as (service, screen, camera):
        command = [sys.executable, "-m", "streamer.subscribe", "--json"]
        command += ["--endpoint", service.endpoints["scores"]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            lines = []
            reader = threading.Thread(target=lambda: lines.extend(map(json.loads, process.stdout)))
            reader.start()
            try:
                first_line(lines, camera)
                for seed in range(8):
                    camera.picture(seed)
                heard = screen.until(1, "score")
                while heard[-1]["frame_id"] != "line-7" or heard[-1]["kind"] != "score":
                    heard += screen.until(1, "score", "revision")
                control(service, "flush", stream="line")
                camera.picture(7)  # the last word: a duplicate
                while heard[-1]["kind"] != "error" or heard[-1]["frame_id"] != "line-7":
                    heard += screen.until(1, "score", "revision", "error")
                until(lambda: lines[-1]["frame_id"] == "line-7" and lines[-1]["kind"] == "error")
            finally:
                process.terminate()
                reader.join(PATIENCE_S)
    labels, expected = {}, []
    for fields in heard:
        if fields["kind"] == "score" or (
            fields["kind"] == "revision" and labels[fields["frame_id"]] != fields["pred_label"]
        ):
            expected.append((fields["kind"], fields["frame_id"], fields["pred_label"]))
        if fields["kind"] != "error":
            labels[fields["frame_id"]] = fields["pred_label"]
    said = [(f["kind"], f["frame_id"], f["pred_label"]) for f in lines if f["kind"] != "error"]
    assert said == expected
    assert sum(fields["kind"] == "revision" for fields in heard) > len(said) - 8 > 0


def first_line(lines, camera):
    """The command is connected once it shows an error: there is nothing else to know it by."""

    def heard():
        camera.send({}, b"")
        return bool(lines)

    until(heard)


def test_what_is_remembered_of_frames_is_bounded():
    verdicts = Verdicts(limit=3)
    for frame_id in (*range(10), [1], {"a": 1}, None):
        assert verdicts.is_news(Message(label("score", frame_id, False)))
    assert len(verdicts._labels) == 3
    assert not verdicts.is_news(Message(label("revision", 0, True))), "forgotten: as one not heard of"
    assert verdicts.is_news(Message(label("revision", 0, False)))
    assert len(verdicts._labels) == 3


def test_every_kind_reads_well_and_cannot_inject_markup():
    told = [
        line.plain
        for line in (
            describe(
                Message(
                    {
                        "kind": "score",
                        "frame_id": "[red]a",
                        "raw_score": 0.5,
                        "pred_label": True,
                        "state": "ready",
                    }
                )
            ),
            describe(
                Message({"kind": "error", "frame_id": None, "code": "bad_shape", "text": "shape: got [1]"})
            ),
            describe(Message({"kind": "dropped", "frame_id": 3, "reason": "drop_oldest"})),
            describe(
                Message({"kind": "status", "state": "ready", "received": 3, "scored": 2, "anomalous": 1})
            ),
        )
    ]
    assert "[red]a" in told[0]
    assert "ANOMALOUS" in told[0]
    assert "shape: got [1]" in told[1]
    assert "drop_oldest" in told[2]
    assert "scored 2  anomalous 1" in told[3]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (EVENT, "repeat (group 3): 2 frames since part-7, the last part-9  at 10,20 30x40 and 1 more"),
        (
            {**EVENT, "event": "drift", "name": "[oil]", "n_frames": 1, "frame_ids": [], "regions": []},
            "drift '[oil]' (group 3): 1 frame since part-7",
        ),
        ({**EVENT, "regions": [[1]], "frame_ids": 3}, "repeat (group 3): 2 frames since part-7"),
        (OPERATOR, "threshold by anna: 0.2500 to 0.5000"),
        ({**OPERATOR, "what": "pin", "who": None, "frame_id": 7, "before": None, "after": None}, "pin 7"),
        (
            {**OPERATOR, "what": "confirm", "group": 3, "before": None, "after": "scratch"},
            "confirm group 3 by anna: none to scratch",
        ),
        ({"kind": "surprise"}, "surprise"),
        ({"kind": "event"}, "None: None frames"),
        (
            label("score", 7, True, known_defect="scratch", raw_score=0.5, n_references=3),
            "7  ANOMALOUS  known defect: scratch  raw 0.5000  (ready, 3 references)",
        ),
        (
            {"kind": "source", "state": "lost", "source": "rtsp://cam", "text": "no route"},
            "camera lost  rtsp://cam: no route",
        ),
        ({"kind": "source", "state": "live", "source": "camera:0", "text": ""}, "camera live  camera:0"),
        (label("score", 7, None, known_defect=None, n_references=0), "7  -  (ready, 0 references)"),
    ],
)
def test_events_and_operators_read_well(fields, line):
    assert describe(Message(fields, "line/x")).plain == f"line/x {line}"


FORGED = "x\nother/score forged  -  raw 9.9\x1b[31m\u202e[bold]\r\udcfc"
SAFE = "x\\nother/score forged  -  raw 9.9\\x1b[31m\\u202e[bold]\\r\\udcfc"


@pytest.mark.parametrize("kind", [*KINDS, FORGED])
def test_no_text_of_a_message_forges_a_line(kind):
    keys = ("frame_id", "text", "code", "reason", "known_defect", "state", "event", "name", "since", "what")
    keys += ("who", "raw_score", "received", "group", "n_frames", "n_references")
    fields = {**dict.fromkeys(keys, FORGED), "kind": kind, "frame_ids": [FORGED], "pred_label": FORGED}
    fields |= {"before": {FORGED: FORGED}, "after": {FORGED: 1}, "regions": [[FORGED] * 4]}
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, highlight=False, soft_wrap=True, color_system=None)
    console.print(describe(Message(fields, f"cam[left]/{kind}")))
    assert shown.getvalue().count("\n") == 1
    assert "\x1b" not in shown.getvalue()
    assert "cam[left]/" in shown.getvalue()
    assert SAFE in shown.getvalue()


def test_no_id_forges_a_line_of_a_terminal_s_log(capsys):
    try:
        logs.configure(style="console")
        structlog.get_logger().warning("frame_error", frame_id="x\x1b[7m\u202e", text=FORGED)
    finally:
        structlog.reset_defaults()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert r"x\x1b[7m\u202e" in said
    assert "\x1b[7m" not in said
    assert "\u202e" not in said
    assert "\r" not in said


def test_two_streams_in_brackets_are_two(capsys):
    for name in ("cam[left]", "cam[right]", "cam\\[red]", "cam[/]"):
        Console(highlight=False, soft_wrap=True).print(
            describe(Message({"kind": "status"}, f"{name}/status"))
        )
        assert capsys.readouterr().out.startswith(f"{name}/status ")


@pytest.mark.parametrize(
    ("width", "told"),
    [
        (None, "a.png  normal  raw 0.4321  rscin 0.2000  pred 0.9876  (ready, 1 reference)"),
        (84, "a.png  normal  raw 0.4321  rscin 0.2000  pred 0.9876  (ready, 1 reference)"),
        (83, "a.png  normal  raw 0.4321  rscin 0.2000  pred 0.9876  (ready)"),
        (68, "a.png  normal  raw 0.4321  rscin 0.2000  (ready)"),
        (55, "a.png  normal  raw 0.4321  rscin 0.2000"),
        (46, "a.png  normal  raw 0.4321"),
        (10, "a.png  normal  raw 0.4321"),
    ],
)
@pytest.mark.parametrize("kind", ["score", "revision"])
def test_of_a_score_the_least_is_left_out_where_it_is_longer_than_the_terminal(kind, width, told):
    numbers = {"raw_score": 0.4321, "rscin_score": 0.2, "pred_score": 0.9876, "n_references": 1}
    topic = f"line/{kind}"
    width = None if width is None else width + len(topic) - len("line/scor")
    assert describe(Message(label(kind, "a.png", False, **numbers), topic), width).plain == f"{topic} {told}"


def test_other_messages_are_whole_whatever_the_width():
    for fields in (EVENT, OPERATOR, END):
        message = Message(fields, f"line/{fields['kind']}")
        assert describe(message, 10).plain == describe(message).plain


def test_a_line_is_broken_between_words_on_a_terminal_and_nowhere_in_a_pipe():
    known = "n" * 20
    messages = [label("score", "part-000017", True, raw_score=0.4321, pred_score=0.9876, known_defect=known)]
    told = f"line/score part-000017 ANOMALOUS known defect: {known} raw 0.4321 pred 0.9876"
    for environment, most in (({"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "40"}, 40), ({}, 200)):
        with detector(messages) as endpoint:
            done = CliRunner().invoke(
                subscribe_main, ["--endpoint", endpoint, "--count", "1"], env=environment
            )
        text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
        lines = text.splitlines()
        assert all(len(line) <= most for line in lines)
        assert (len(lines) > 2) == (most == 40)
        assert " ".join(text.split()).startswith(told.removesuffix(" pred 0.9876") if most == 40 else told)
