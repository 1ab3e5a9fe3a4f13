"""A line and a real service, sockets and all, of the same pictures: both say the same, to the last bit."""

import pytest
from line_actor_support import ROOM, TIMES, let_go
from snapshot_support import config
from streamer_support import CAPTURED_NS, Camera, Screen, backbone, control, picture, serving

from musc_online import frames
from musc_online.events import contrast_of
from streamer.cluster.exchange import BackboneIdentity, Frame, Settled
from streamer.cluster.line import Line
from streamer.server.ledger import LastFrame, Ledger
from streamer.wire.requests import check_word

__all__ = ["backbone"]

N_FRAMES = 18
WORDS = {
    # Changes nothing: what is said of it goes out behind all that the frame made due.
    **{number: ("unpin", {"frame_id": f"line-{number}"}) for number in range(2, N_FRAMES, 6)},
    7: ("pin", {"frame_id": "line-6"}),
    9: ("false_alarm", {"frame_id": "line-8", "who": "anna"}),
    11: ("confirm", {"frame_id": "line-10", "verdict": "defect", "name": "scratch"}),
    13: ("threshold", {"rule": "quantile"}),
    15: ("forget", {"frame_id": "line-14"}),
}
LAST = ("unpin", {"frame_id": "line-6"})
OPTIONS = {
    "plain": {},
    "quarantine, nearest and numbers": {
        "ring": {"capacity": 8, "nearest": 4, "keep": 6, "admit": "quarantine", "quarantine": 4},
        "transport": {"map_encoding": "float32", "revision_maps": "all"},
    },
    "tiles, subsets and grids": {
        "tiles": {"rows": 1, "cols": 2},
        "ring": {"capacity": 9, "subsets": 3, "score_against": 2},
        "transport": {"map_encoding": "grid"},
    },
}
KINDS = ("score", "revision", "event", "operator")


def plain(kind, fields, payload):
    said = {name: value for name, value in fields.items() if name not in (*TIMES, "v", "pub_seq", "kind")}
    # A subscriber has lists where the line has tuples.
    return kind, repr(sorted(said.items())).replace("(", "[").replace(")", "]"), payload


def by_service(backbone, wanted, numbers):
    """Everything that a service says of these frames and words, and at a flush behind the last."""
    heard = []
    with (
        serving(wanted, backbone) as service,
        Screen(service, "line/") as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):

        def listen(kind, part):
            """Until a message of a kind in which there is this comes."""
            while True:
                _, fields, payload = screen.next()
                if fields["kind"] in KINDS:
                    heard.append(plain(fields["kind"], fields, payload))
                if fields["kind"] == kind and part in str(fields):
                    return

        for number in numbers:
            camera.picture(number, capture_ns=CAPTURED_NS + number, meta={"part": number})
            listen("score", f"line-{number}")
            if number in WORDS:
                what, about = WORDS[number]
                control(service, what, stream="line", **about)
                listen("operator", what)
        if numbers[-1] == N_FRAMES - 1:
            control(service, "flush", stream="line")
            what, about = LAST
            control(service, what, stream="line", **about)  # goes out behind all that the flush made final
            listen("operator", what)
    return heard


class OfPictures:
    """A line that is given the tokens of the pictures which a service is sent."""

    def __init__(self, backbone, wanted):
        self.backbone, self.config = backbone, wanted
        self.line = Line("line", wanted, BackboneIdentity(backbone.fingerprint, backbone.precision), 2)
        self.ledger, self.heard = Ledger(), []
        opened = self.line.open(ROOM)
        assert opened.reply.error is None
        if opened.tally is not None:
            self.ledger.resume("line", opened.tally)

    def hear(self, reply):
        assert reply.error is None, reply.error
        self.heard += [plain(told.kind, told.header, told.payload) for told in reply.told]
        return reply

    def run(self, numbers):
        for number in numbers:
            reply = self.hear(self.line.score(*self.tokens(number)))
            header = reply.told[0].header
            frame = LastFrame(header["frame_id"], header["scored_ns"], header["pred_label"])
            self.ledger.receive("line")
            self.ledger.score("line", frame)
            self.line.settle([Settled(frame, header["late"])], self.ledger.streams()["line"])
            if number in WORDS:
                what, about = WORDS[number]
                self.hear(self.line.operate(check_word(what, {"stream": "line", **about})))
        if numbers[-1] == N_FRAMES - 1:
            self.hear(self.line.flush())
            what, about = LAST
            self.hear(self.line.operate(check_word(what, {"stream": "line", **about})))
        return self.heard

    def tokens(self, number):
        shown, tiles = picture(number), self.config.tiles
        patches, classes = frames.extract(self.backbone, frames.inputs(self.backbone, shown, tiles), 1)
        by_tile = patches.transpose(0, 1)
        tokens = (
            (by_tile if len(by_tile) > 1 else by_tile[0]).numpy(),
            frames.join_class_tokens(classes).numpy(),
        )
        about = (f"line-{number}", number, CAPTURED_NS + number, {"part": number}, 5.0, 4.0)
        return Frame(*about, shown.shape[:2], contrast_of(shown), {"decode": 1.0}), tokens


@pytest.mark.parametrize(
    "options", [name if name == "plain" else pytest.param(name, marks=pytest.mark.slow) for name in OPTIONS]
)
def test_a_line_says_what_a_service_says_of_real_pictures(backbone, options):
    wanted = config(**OPTIONS[options])
    expected = by_service(backbone, wanted, range(N_FRAMES))
    assert OfPictures(backbone, wanted).run(range(N_FRAMES)) == expected
    assert {"score", "revision", "operator"} <= {said[0] for said in expected}
    assert any(said[2] for said in expected)


@pytest.mark.slow
@pytest.mark.parametrize("journal", [True, False])
def test_they_take_turns_on_the_same_files(backbone, tmp_path, journal):
    heard, wanted = [], config(tmp_path, journal=journal)
    for number in range(0, N_FRAMES, 6):
        heard += by_service(backbone, wanted, range(number, number + 3))
        line = OfPictures(backbone, wanted)
        heard += line.run(range(number + 3, number + 6))
        if not journal:
            assert line.line.copy()
            assert line.line.write()
            line.line.close()
        let_go(line.line)
    assert heard == by_service(backbone, config(), range(N_FRAMES))
