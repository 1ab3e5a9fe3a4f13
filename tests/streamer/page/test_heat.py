"""What the browser computes of a map, held to NumPy and to plain loops, in a real browser."""

import functools
import http.server
import json
import threading

import cv2
import numpy as np
import pytest
from browser_support import complaints

from streamer import outlines, overlays
from streamer.maps import interpolate
from streamer.page.files import STATIC

NONE = "\N{EN DASH}"
VIEWS = (None, (0.0, 0.125, 1.0, 0.875), (-0.25, 0.0, 1.25, 1.0), (0.1, -0.5, 0.6, 1.5))

GRIDS = {(16, 16): (60, 80), (7, 12): (33, 21), (1, 5): (4, 9)}
"""Patches a side, and the map's height and width."""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """The test's output is the test's."""


@pytest.fixture(scope="module")
def files():
    """The static files alone: none of these tests needs more of a server."""
    handler = functools.partial(_Quiet, directory=str(STATIC.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def run(files, browser):
    """Runs JavaScript with a module as `m`; its value comes back as JSON does, NaN as null."""
    browser.get(f"{files}/static/login.html")

    def running(module, script, *values):
        code = f"""
            const [module, values] = arguments;
            const done = (found) => arguments[arguments.length - 1](JSON.stringify(found));
            import(module).then((m) => (function (m, a) {{ {script} }})(m, values))
                .then(done, (error) => done(String(error.stack)));
        """
        return json.loads(browser.execute_async_script(code, f"{files}/static/{module}", values))

    yield running
    assert complaints(browser) == []


def test_maps_are_interpolated_as_the_detector_does(run):
    cases = [(grid, view) for grid in GRIDS for view in VIEWS]
    scores = {grid: np.random.default_rng(sum(grid)).random(grid, np.float32) for grid in GRIDS}
    script = (
        "return a.map(([grid, rows, cols, h, w, view]) =>"
        " Array.from(m.bilinear(Float32Array.from(grid), rows, cols, h, w, view)));"
    )
    asked = [[scores[grid].ravel().tolist(), *grid, *GRIDS[grid], view] for grid, view in cases]
    for (grid, view), found in zip(cases, run("heat.js", script, *asked), strict=True):
        expected = interpolate(scores[grid], GRIDS[grid], view)
        assert np.array(found).reshape(GRIDS[grid]) == pytest.approx(expected, abs=1e-6)
        # Of one row, each pixel shows it.
        reaches_beyond = view == VIEWS[3] or (view == VIEWS[2] and grid[0] > 1)
        assert (expected == 0).any() == reaches_beyond


def test_a_contour_runs_where_the_map_crosses_the_level(run):
    scores = np.random.default_rng(5).random((20, 30), np.float32)
    script = "return m.contourOf(Float32Array.from(a[0]), a[1], a[2], a[3]);"
    pieces = np.array(run("heat.js", script, scores.ravel().tolist(), 20, 30, 0.5)).reshape(-1, 2, 2)
    ends = pieces.reshape(-1, 2)
    # Each end lies on an edge between two samples, where the line between them is at the level.
    for x, y in ends:
        x0, y0 = int(x), int(y)
        along, share = ((1, 0), x - x0) if x != x0 else ((0, 1), y - y0)
        near = scores[y0, x0]
        far = scores[min(y0 + along[1], 19), min(x0 + along[0], 29)]
        assert near + share * (far - near) == pytest.approx(0.5, abs=1e-5)
    # Every edge whose ends are on different sides is crossed, by the two cells it belongs to.
    above = scores >= 0.5
    across, down = above[:, 1:] != above[:, :-1], above[1:] != above[:-1]
    inner = 2 * across[1:-1].sum() + across[[0, -1]].sum() + 2 * down[:, 1:-1].sum() + down[:, [0, -1]].sum()
    assert len(ends) == inner


def test_a_contour_goes_round_what_is_above_and_leaves_the_rest(run):
    rows, cols = np.mgrid[:41, :61]
    hill = np.exp(-((rows - 20) ** 2 + (cols - 40) ** 2) / 50).astype(np.float32)
    script = "return m.contourOf(Float32Array.from(a[0]), 41, 61, a[1]);"
    ends = np.array(run("heat.js", script, hill.ravel().tolist(), 0.5)).reshape(-1, 2)
    distance = np.hypot(ends[:, 0] - 40, ends[:, 1] - 20)
    assert distance == pytest.approx(np.sqrt(50 * np.log(2)), abs=0.05)
    assert run("heat.js", script, hill.ravel().tolist(), 2.0) == []


def test_one_scale_holds_good_frames_the_worst_and_the_threshold(run):
    draw = np.random.default_rng(2)
    lows, highs = draw.uniform(0.1, 0.2, 200), draw.uniform(0.3, 0.6, 200)
    frames = [{"map": {"min": low, "max": high}} for low, high in zip(lows, highs, strict=True)]
    script = "return [m.windowScale(a[0], a[1]), m.windowScale(a[0], a[2]), m.windowScale([], null)];"
    usual, high, none = run("heat.js", script, [*frames, {"map": None}], 0.4, 2.0)
    # The quantile of NumPy's nearest rank: an even one of two where it lies between them.
    assert np.quantile(lows, 0.09) <= usual["low"] <= np.quantile(lows, 0.11)
    assert np.quantile(highs, 0.97) <= usual["high"] <= highs.max()
    assert high["low"] < 2.0 < high["high"]
    assert none == {"low": 0, "high": 1}


def test_the_colours_are_those_of_every_other_picture(run):
    found = np.array(run("heat.js", "return Array.from(m.PALETTE);")).reshape(256, 3)
    assert (found == overlays.table()).all()


def test_the_scales_mean_what_they_mean_in_every_other_picture(run):
    draw = np.random.default_rng(3)
    cases = []
    for n_frames in (0, 1, 2, 7, 60):
        lows, highs = draw.uniform(0, 0.2, n_frames), draw.uniform(0.3, 0.9, n_frames)
        cases += [[lows.tolist(), highs.tolist(), threshold] for threshold in (None, 0.05, 0.4, 3.0)]
    cases.append([[0.25], [0.25], None])
    script = """
        return a.map(([lows, highs, threshold]) => {
            const frames = lows.map((min, n) => ({ map: { min, max: highs[n] } }));
            return [m.windowScale(frames, threshold), m.scaleOf({ threshold, map: frames[0]?.map })];
        });
    """
    for (lows, highs, threshold), (window, own) in zip(cases, run("heat.js", script, *cases), strict=True):
        expected = overlays.Scale.of_ends(lows, highs, threshold)
        assert (window["low"], window["high"]) == pytest.approx((expected.low, expected.high))
        ends = np.array([[lows[0], highs[0]]]) if lows else np.full((1, 2), np.nan)
        expected = overlays.Scale.about(threshold, ends)
        assert (own["low"], own["high"]) == pytest.approx((expected.low, expected.high))


def test_a_map_covers_the_frame_as_it_does_in_every_other_picture(run):
    shares = np.linspace(0, 1, 41)
    found = run("heat.js", "return a[0].map((share) => m.cover(share, a[1]));", shares.tolist(), 0.6)
    assert found == pytest.approx(overlays.cover(shares, 0.6))


def test_a_line_goes_round_what_reaches_the_level_of_a_frame_called_anomalous(run):
    frames = [{"label": label, "threshold": 0.5} for label in (True, False, None)]
    frames.append({"label": True})
    assert run("heat.js", "return a.map(m.levelOf);", *frames) == [
        outlines.level(frame["label"], frame.get("threshold")) for frame in frames
    ]
    # What is at the level reaches it, as in every other picture.
    script = "return m.contourOf(Float32Array.from(a[0]), 2, 2, 0.5).length;"
    assert run("heat.js", script, [0.5, 0.5, 0, 0]) == 4
    assert run("heat.js", script, [0.49, 0.49, 0, 0]) == 0
    # A highest place between the samples is not lost; a map below its threshold has no line.
    script = "return a.map(([drawn, map, level]) => m.reached(drawn, map, level));"
    cases = [[[0.2, 0.4], [0.6], 0.5], [[0.2, 0.6], [0.6], 0.5], [[0.2, 0.4], [0.45], 0.5]]
    assert run("heat.js", script, *cases) == pytest.approx([0.392, 0.5, 0.5])


def test_the_page_draws_over_the_frames_colours_what_others_draw_over_grey(run):
    """On purpose: it is the picture of the part, and its opacity is the reader's to set."""
    script = """
        const image = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
        const ink = image.getContext("2d");
        ink.fillStyle = "rgb(200, 40, 90)";
        ink.fillRect(0, 0, 8, 8);
        const canvas = document.createElement("canvas");
        m.draw(canvas, { image, grid: Float32Array.of(1, 1, 1, 1), rows: 2, cols: 2, low: 0, high: 1 });
        return Array.from(canvas.getContext("2d").getImageData(100, 100, 1, 1).data);
    """
    pixel, hot = run("heat.js", script)[:3], overlays.table()[255].astype(float)
    assert pixel == pytest.approx(0.45 * np.array([200, 40, 90]) + 0.55 * hot, abs=3)
    frame = np.full((64, 64, 3), (90, 40, 200), np.uint8)
    drawn = overlays.panels(frame, np.ones((2, 2), np.float32), overlays.Scale(0, 1))
    grey = float(cv2.cvtColor(frame[:1, :1], cv2.COLOR_BGR2GRAY)[0, 0])
    middle = drawn[100, overlays.SIDE + overlays.GAP + 100, ::-1]
    assert middle.tolist() == pytest.approx(0.25 * grey + 0.75 * hot, abs=1)
    look = (STATIC / "controls.js").read_text() + (STATIC / "wall.js").read_text()
    assert "opacity: 55," in look
    assert "opacity: 0.55," in look


def test_words_signs_and_classes_of_verdicts(run):
    script = "return a.map((frame) => m.verdict(frame)).map(({word, sign, cls}) => [word, sign, cls]);"
    frames = [
        {"label": True, "state": "ready"},
        {"label": False, "state": "degraded"},
        {"label": None, "state": "warmup"},
        {"label": None, "state": "ready"},
        None,
    ]
    assert run("common.js", script, *frames) == [
        ["NOT OK", "✕", "bad"],
        ["OK", "✓", "good"],
        ["LEARNING", "…", "learning"],
        ["NO VERDICT", NONE, "none"],
        ["NO VERDICT", NONE, "none"],
    ]


def test_the_first_verdict_is_told_only_where_it_is_another_now(run):
    script = "return a.map((frame) => m.firstVerdict(frame)?.word ?? null);"
    frames = [
        {"label": False, "first": {"label": True}},
        {"label": True, "first": {"label": False}},
        {"label": True, "first": {"label": True}},
        {"label": True, "first": {"label": None}},
        {"label": True},
    ]
    assert run("common.js", script, *frames) == ["NOT OK", "OK", None, None, None]


def test_numbers_and_spans_as_text(run):
    script = "const f = m.fmt; return [f.score(0.12345), f.score(null), f.count(1234567), f.percent(0.0134),"
    script += (
        "f.percent(0), f.percent(null), f.ago(1000, 1400), f.span(59_000), f.span(3_725_000), f.span(9e7)];"
    )
    assert run("common.js", script) == [
        "0.123", NONE, "1,234,567", "1.3 %", "0 %", NONE, "0.4 s ago", "59 s", "1 h 2 min", "1 d 1 h",
    ]  # fmt: skip


def test_what_keeps_the_screen_from_being_the_line_is_told_by_its_gravity(run):
    up = {"up": True, "state": "ready", "heard": 9_000, "since": 0}
    down = {**up, "up": False}
    one = {"stream": "line-1", "silent": False, "asleep": False, "last_frame": 8_000}
    silent = {**one, "silent": True}
    lost, waiting, live = (
        {**one, "camera": {"state": state, "since": 7_000}} for state in ("lost", "waiting", "live")
    )
    cases = [
        (up, [one], "open", None, None),
        (up, [silent], "open", "silent", "warn"),
        (up, [{**silent, "asleep": True}], "open", None, None),
        (up, [live], "open", None, None),
        (up, [silent, waiting, lost], "open", "lost", "warn"),
        (up, [silent, waiting], "open", "waiting", "warn"),
        (down, [lost], "open", "detector", "down"),
        (down, [silent], "open", "detector", "down"),
        (down, [silent], "reconnecting", "reconnecting", "down"),
        ({**up, "state": "degraded"}, [one], "open", "degraded", "warn"),
        (up, [], "open", "empty", "warn"),
        (None, [], "connecting", None, None),
    ]
    script = """
        return a.map((one) => m.situation(one[0], one[1], one[2], 20_000))
            .map((found) => [found?.kind ?? null, found?.level ?? null]);
    """
    found = run("states.js", script, *[list(case[:3]) for case in cases])
    assert found == [list(case[3:]) for case in cases]


def test_rows_keep_the_order_the_newest_word_and_their_bound(run):
    script = """
        const rows = new m.Rows(3);
        const frame = (n, change, raw) =>
            ({stream: "s", key: `i:${n}`, raw, change, first: {scored: n}, scored: 99});
        const isNew = [frame(1, 1, .1), frame(3, 2, .3), frame(2, 3, .2), frame(3, 5, .35), frame(3, 4, .9)]
            .map((one) => rows.take(one));
        const before = rows.last(9).map((one) => one.raw);
        rows.take(frame(4, 6, .4));
        return [isNew, before, rows.last(9).map((one) => one.raw), rows.get("s", "i:1"),
            rows.beside(rows.get("s", "i:3"), -1).raw, rows.last(2, "other")];
    """
    is_new, before, after, gone, beside, other = run("rows.js", script)
    assert is_new == [True, True, True, False, False]
    assert (before, after) == ([0.1, 0.2, 0.35], [0.2, 0.35, 0.4])
    assert (gone, beside, other) == (None, 0.2, [])


def test_a_message_with_a_grid_is_read_whatever_the_length_of_its_header(run):
    script = """
        return a.map((name) => {
            const head = new TextEncoder().encode(JSON.stringify({type: "score", name}));
            const bytes = new Uint8Array(4 + head.length + 8);
            new DataView(bytes.buffer).setUint32(0, head.length, true);
            bytes.set(head, 4);
            bytes.set(new Uint8Array(Float32Array.of(0.5, -2).buffer), 4 + head.length);
            const {name: read, grid} = m.parse(bytes.buffer);
            return [read, ...grid];
        });
    """
    names = ["", "a", "ab", "abc", "tür"]
    assert run("socket.js", script, *names) == [[name, 0.5, -2.0] for name in names]


def test_a_message_with_a_picture_is_read(run):
    script = """
        const head = new TextEncoder().encode(JSON.stringify({type: "picture", key: "i:1"}));
        const bytes = new Uint8Array(4 + head.length + 5);
        new DataView(bytes.buffer).setUint32(0, head.length, true);
        bytes.set(head, 4);
        bytes.set([1, 2, 3, 4, 5], 4 + head.length);
        const {jpeg, grid, key} = m.parse(bytes.buffer);
        return jpeg.bytes().then((found) => [key, jpeg.type, ...found, grid === undefined]);
    """
    assert run("socket.js", script) == ["i:1", "image/jpeg", 1, 2, 3, 4, 5, True]


def test_of_pictures_that_came_the_last_are_kept_and_the_others_let_go(run):
    script = """
        const canvas = new OffscreenCanvas(6, 4);
        canvas.getContext("2d").fillRect(0, 0, 6, 4);
        const frame = (n) => ({stream: "s", key: `i:${n}`, picture: true});
        const came = [];
        let next = () => {};
        const pictures = new m.Pictures(() => next());
        return (async () => {
            const jpeg = await canvas.convertToBlob({type: "image/jpeg"});
            for (let n = 0; n < 25; n += 1) {
                const ready = new Promise((done) => { next = done; });
                pictures.putImage(frame(n), jpeg);
                await ready;
                came.push(pictures.image(frame(n)));
            }
            return [pictures.images.size, ...[0, 1, 24].flatMap((n) => [came[n].width, came[n].height])];
        })();
    """
    assert run("pictures.js", script) == [24, 0, 0, 6, 4, 6, 4]


def test_scores_have_as_many_digits_as_tell_them_apart(run):
    values = [0.5371, 0.01, 0.0004123, -0.00041, 0, 1e-12, 123456.789, None]
    assert run("common.js", "return a[0].map((value) => m.fmt.score(value));", values) == [
        *("0.537", "0.010", "0.000412", "-0.000410", "0.000", "0.00000000", "123456.789", NONE),
    ]
    assert run("timeline.js", "return a.map(([value, step]) => m.labelOf(value, step));", [0.3, 0.1], [
        0.0005, 0.0005,
    ], [200000, 100000]) == ["0.30", "0.0005", "200000.00"]  # fmt: skip


def test_a_name_from_right_to_left_does_not_turn_the_numbers_beside_it(run):
    frames = [{"part_id": "\u202e8841"}, {"part_id": " ", "frame_id": "f 1"}, {"frame_id": "\u05d0"}]
    assert run("common.js", "return a.map(m.nameOf);", *frames) == [
        *("part \u2068\u202e8841\u2069", "f 1", "\u2068\u05d0\u2069")
    ]


def test_a_key_that_is_held_down_says_nothing_twice(run):
    script = """
        const said = [];
        m.onKey("a", "acknowledge", () => said.push("a"));
        m.onKey("j", "next", () => said.push("j"));
        for (const key of ["a", "j"])
          for (const repeat of [false, true, true])
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key, repeat, bubbles: true }));
        return said.join("");
    """
    assert run("keys.js", script) == "ajjj"


def test_what_is_missed_while_the_missed_is_fetched_is_fetched_too(run):
    script = """
        const asked = [];
        let socket;
        window.WebSocket = class { constructor() { socket = this; } };
        window.fetch = async (address) => {
          asked.push(new URL(address, location).searchParams.get("since"));
          if (asked.length === 1) {
            tell({ type: "score", frame: { change: 9 } });
            tell({ type: "missed", n: 1 });
          }
          return new Response('{"frames": [], "next": null}', { headers: { "content-type": "text/json" } });
        };
        const tell = (message) => socket.onmessage({ data: JSON.stringify(message) });
        m.connect({ onMessage() {} });
        tell({ type: "hello", cursor: 5 });
        tell({ type: "missed", n: 3 });
        return new Promise((resolve) => {
          const look = () => (asked.length > 1 ? resolve(asked) : setTimeout(look));
          look();
        });
    """
    assert run("socket.js", script) == ["5", "9"]


def test_what_was_not_today_is_told_with_its_day(run):
    script = """
        const noon = new Date(2001, 10, 29, 12).getTime();
        return [m.fmt.moment(noon), m.fmt.moment(noon, noon + 3600000), m.fmt.moment(null)];
    """
    assert run("common.js", script) == ["29 Nov 2001 12:00:00", "12:00:00", NONE]


def test_a_page_that_took_its_time_says_at_once_that_the_detector_is_gone(run):
    script = """
        document.body.append(Object.assign(document.createElement("div"), { id: "banner" }));
        return import("/static/shell.js").then(({ showHealth }) => {
          showHealth({ detector: { up: false, heard: null, since: 0 }, streams: [] });
          m.follow([], null);
          return document.querySelector("#banner").textContent;
        });
    """
    assert run("watching.js", script).startswith("No detector heard yet")


def test_an_answer_that_was_on_its_way_does_not_undo_what_came_meanwhile(run):
    """The page of events showed a group as undecided that had been decided while it was read."""
    said = run(
        "watching.js",
        """
        let truth = "old", shown = null, reads = 0;
        const answers = [];
        const load = m.inTurn(async () => {
          reads += 1;
          const answer = truth;
          await new Promise((resolve) => answers.push(resolve));
          shown = answer;
        });
        const first = load();
        truth = "new";
        const second = load();
        const third = load();
        const next = async () => { while (!answers.length) await null; answers.shift()(); };
        return (async () => {
          await next();
          await next();
          await Promise.all([first, second, third]);
          return { shown, reads };
        })();
        """,
    )
    assert said == {"shown": "new", "reads": 2}


def test_a_reading_that_fails_is_told_and_the_next_one_goes_on(run):
    said = run(
        "watching.js",
        """
        let fails = true;
        const load = m.inTurn(async () => { if (fails) throw new Error("away"); });
        return load().catch((error) => error.message).then((first) => {
          fails = false;
          return load().then(() => [first, "there"]);
        });
        """,
    )
    assert said == ["away", "there"]
