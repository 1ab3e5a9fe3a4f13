"""From tokens to published scores: the work of the matching thread, for every stream."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog

from musc_online.backbones import Backbone
from musc_online.config import Config
from musc_online.detector import Detector
from musc_online.errors import CapacityError, FrameError, UnreadableError
from musc_online.score import Score
from streamer.errors import WireError
from streamer.server.outcomes import Outcomes
from streamer.server.pipeline import Tokens
from streamer.server.restoring import Restorer
from streamer.server.stream import Origin, Stream
from streamer.server.streams import Streams
from streamer.server.telling import Telling, grid_of, score_header
from streamer.server.timing import is_late, spent_ms
from streamer.server.words import answered, say
from streamer.wire.requests import OF_A_FRAME, OF_A_GROUP, Word

log = structlog.get_logger()


class Scoring:
    """Owns the detectors; only the matching thread calls it.

    Args:
        streams: the open streams.
        backbone: shared by the detectors.
        outcomes: told of scores, and of what else happens.
        restorer: of rings on disk.
        observe: told the phases of each score, in milliseconds.
        observe_score: told stream and raw score.
        new_detector: makes an empty detector; None for one with `backbone`.
        fatal: errors after which a detector is of no use any more: raised, whatever was being done.
    """

    def __init__(
        self,
        streams: Streams,
        backbone: Backbone,
        outcomes: Outcomes,
        restorer: Restorer,
        observe: Callable[[Mapping[str, float]], None],
        observe_score: Callable[[str, float], None],
        new_detector: Callable[[Config], Detector] | None = None,
        fatal: tuple[type[Exception], ...] = (),
    ) -> None:
        self._streams, self._outcomes = streams, outcomes
        self._restorer, self._fatal = restorer, fatal
        self._make = new_detector or partial(Detector, backbone=backbone)
        self._observe, self._observe_score = observe, observe_score
        self._telling = Telling(outcomes)

    def resume(self) -> None:
        """Open the streams that have a snapshot, the newest first; before the matching thread starts."""
        for name, asleep in self._restorer.streams():
            try:
                tally = self._resume(name, asleep)
            except WireError as error:
                log.warning("snapshot_left", stream=name, code=error.code, text=error.text)
                continue
            except MemoryError:  # its frames are told so, and there may be room by then
                log.warning("snapshot_left", stream=name, text="there is no memory for its ring")
                continue
            if tally is not None:
                self._outcomes.ledger.resume(name, tally)

    def _resume(self, name: str, asleep: bool) -> dict[str, Any] | None:
        """Open a stream, or leave it asleep as it was or for want of room; the tally, None if refused."""
        asleep_stream = self._streams.put_to_sleep(name) if asleep else None
        if asleep_stream is None:
            try:
                return self.open(self._streams.admit(name))
            except WireError:
                asleep_stream = self._streams.put_to_sleep(name)
                if asleep_stream is None:
                    raise
        tally = self._restorer.restore_asleep(asleep_stream)
        asleep_stream.asleep = tally is not None
        return tally

    def open(self, stream: Stream) -> dict[str, Any] | None:
        """Put a stream's ring back as its files hold it; the tally of then, None where there is no ring.

        Raises:
            WireError: `no_room`, `too_many_streams` or `snapshot_unreadable`.
        """
        _, tally = self._open(stream)
        if tally is None:
            stream.detector = None
        return tally

    def score(self, tokens: Tokens) -> None:
        """Score a frame, publish the score, and whatever revisions are due by it.

        Raises:
            FrameError: the detector cannot use the frame.
            WireError: `no_room` for the stream's ring, `too_many_streams` awake for it to wake.
        """
        try:
            self._score(tokens)
        except (FrameError, WireError):
            raise
        except Exception:
            # If it got into the ring before that, it could never be scored when it is sent again.
            tokens.queued.stream.keep_unpublished(tokens.queued.message.frame_id)
            raise

    def _score(self, tokens: Tokens) -> None:
        queued, stream = tokens.queued, tokens.queued.stream
        detector = stream.detector or self._open(stream)[0]
        frame_id = queued.message.frame_id
        origin = Origin(queued.message.seq, queued.capture_ns, queued.message.meta)
        score = stream.take_unpublished(frame_id) or self._step(tokens, detector, origin)
        stream.wait_for_publishing(score)
        stream.remember(score.frame_id, origin)
        stream.unsaved = True
        tokens.lap("score")
        latency = {**tokens.latency_ms, "total": (tokens.since_ns - queued.received_ns) / 1e6}
        map_ = score.anomaly_map if stream.config.output.anomaly_map else None
        grid = None if map_ is None else grid_of(detector, score)
        header = score_header(score, stream.name, origin, latency)
        spent = spent_ms(queued.begun_ns, header["scored_ns"])
        header["late"] = is_late(spent, stream.config.deadline_ms)
        self._observe(header["latency_ms"])
        if score.raw_score is not None:
            self._observe_score(stream.name, score.raw_score)
        # Before the score is out: whoever has it must not find an older ring in `status`.
        stream.state = detector.status()
        self._outcomes.score(queued, header, map_, grid, spent)
        self._telling.picture(stream, header, tokens)
        self._telling.happened(stream, detector)
        if detector.revise_due:
            self._revise(stream, detector)

    def _step(self, tokens: Tokens, detector: Detector, origin: Origin) -> Score:
        """Take a frame in, and write that down: before anybody hears of it."""
        stream, frame_id = tokens.queued.stream, tokens.queued.message.frame_id
        with _written_down(stream, detector):
            score = detector.step_tokens(
                tokens.patch_tokens,
                tokens.class_token,
                frame_id,
                frame_shape=tokens.shape,
                contrast=tokens.contrast,
                spent_ms=spent_ms(tokens.queued.begun_ns, time.time_ns()),
            )
        if stream.journal is not None:
            fields = {
                "frame_id": frame_id,
                "shape": tokens.shape,
                "contrast": tokens.contrast,
                **vars(origin),
            }
            stream.journal.frame(detector, fields, tokens.patch_tokens, tokens.class_token)
        return score

    def _revise(self, stream: Stream, detector: Detector) -> None:
        try:
            with _written_down(stream, detector):
                revised = detector.revise()
        except self._fatal:
            raise
        except Exception as error:  # no memory, perhaps; the frame has its score all the same
            log.exception("revision_failed", stream=stream.name)
            self._outcomes.trouble(stream, f"revision: not done ({type(error).__name__}: {error})")
            return
        stream.state = detector.status()
        self._telling.scores(stream, detector, revised)
        self._telling.happened(stream, detector)  # what it cleared may have taken another's place

    def flush(self, stream: Stream) -> int:
        """Publish the final revision of every frame in the ring; how many there were.

        Raises:
            WireError: `no_room` or `too_many_streams` for a stream that sleeps.
        """
        detector = self._opened(stream)
        if detector is None:
            return 0
        evicted = self._telling.happened(stream, detector)  # first: whatever becomes of the flush
        with _written_down(stream, detector):
            scores = detector.flush()
        if stream.journal is not None:
            stream.journal.flush()
        stream.state = detector.status()
        stream.unsaved = True
        self._telling.scores(stream, detector, scores)
        return evicted + len(scores) + self._telling.happened(stream, detector)

    def reset(self, stream: Stream) -> None:
        """Forget a stream's ring; the last scores of the frames in it are final, unless it sleeps on disk."""
        detector = stream.detector
        if detector is not None:
            window = detector.window
            self._telling.happened(stream, detector)
            self._telling.scores(stream, detector, window.close(window.newest(len(window.entries))))
        stream.reset()

    def operate(self, stream: Stream, word: Word) -> dict[str, Any]:
        """An operator's word: done, told to everybody, and whatever it makes due revised at once.

        Returns:
            The answer; after a word on frames also how many images the ring holds now, and how many of
            them are pinned.

        Raises:
            WireError: `unknown_frame`, `unknown_group`, `bad_frame` or `bad_value`; `no_room` or
                `too_many_streams` for a stream that sleeps.
        """
        detector = self._opened(stream)
        if detector is None:
            raise nothing_to_say(stream, word)
        with _written_down(stream, detector):
            said = say(detector, word)
        if word.preview:
            return answered(stream.name, word, said, stream.state)
        if stream.journal is not None:
            stream.journal.word(word)
        stream.state = detector.status()
        stream.unsaved = True
        self._telling.word(stream, word, said)
        self._telling.happened(stream, detector)
        if detector.revise_due:  # another threshold or product, or the pin that closed the ring
            self._revise(stream, detector)
        return answered(stream.name, word, said, stream.state)

    def _opened(self, stream: Stream) -> Detector | None:
        """The detector of a stream, woken if need be; None before its first frame."""
        return self._open(stream)[0] if stream.asleep else stream.detector

    def _open(self, stream: Stream) -> tuple[Detector, dict[str, Any] | None]:
        """A detector for a stream's first frame, or for the next after a sleep; the tally of its snapshot."""
        was_asleep = stream.asleep
        with self._streams.opening(stream):
            detector = stream.detector = self._new_detector(stream)
            try:
                tally = self._restorer.restore(stream)
            except CapacityError as error:
                raise WireError("no_room", f"stream '{stream.name}': {error}") from None
            except UnreadableError as error:
                # An empty ring would give wrong scores and, sooner or later, overwrite the file.
                raise WireError("snapshot_unreadable", f"stream '{stream.name}': {error}") from None
        if was_asleep:
            log.info("stream_awake", stream=stream.name, images=stream.state["images"])
        return detector, tally

    def _new_detector(self, stream: Stream) -> Detector:
        room = self._streams.room_for(stream)
        if room < 1:
            raise WireError(
                "no_room", f"stream '{stream.name}': limits.total_bytes is used up by other streams"
            )
        try:
            return self._make(_within(stream.config, room))
        except CapacityError as error:
            raise WireError("no_room", f"stream '{stream.name}': {error}") from None


@contextmanager
def _written_down(stream: Stream, detector: Detector) -> Iterator[None]:
    """A change of the ring that the journal will hold; one that failed half way it cannot."""
    try:
        yield
    except (FrameError, WireError):
        raise  # nothing has changed
    except Exception as error:
        stream.unsaved = True
        if stream.journal is not None and detector.ring is not None:
            stream.journal.lose(f"a change was not done to its end ({type(error).__name__})")
        raise


def _within(config: Config, room: int) -> Config:
    if room >= int(config.ring.max_bytes):
        return config
    ring = config.ring.model_copy(update={"max_bytes": type(config.ring.max_bytes)(room)})
    return config.model_copy(update={"ring": ring})


def nothing_to_say(stream: Stream, word: Word) -> WireError:
    """Why an operator's word on a stream without a ring cannot be heeded."""
    if word.what in OF_A_FRAME:
        return WireError("unknown_frame", f"frame_id: stream '{stream.name}' has no frame in its ring")
    if word.what in OF_A_GROUP:
        return WireError("unknown_group", f"group: stream '{stream.name}' has no frame in its ring")
    return WireError("bad_value", f"stream: got '{stream.name}', expected one with a frame in its ring")
