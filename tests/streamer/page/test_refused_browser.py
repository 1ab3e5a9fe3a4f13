"""Another site in the operator's browser, another name for this host, strangers, viewers: all are refused."""

import http.client
import http.server
import json
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from browser_support import browsing, every, one, text_of, until
from page_support import Line, log_in

EVIL = "evil.example"
ATTACK = """
const [page, stream, key, done] = arguments;
const post = (path, body, type) => fetch(page + path, {
  method: "POST", credentials: "include", mode: type === "text/plain" ? "no-cors" : "cors",
  headers: { "content-type": type }, body: JSON.stringify(body),
}).then((answer) => answer.type, () => "refused");
const socket = () => new Promise((resolve) => {
  const opened = new WebSocket(page.replace("http", "ws") + "/ws");
  opened.onmessage = () => resolve("heard");
  opened.onclose = () => resolve("refused");
});
const review = { stream, key, decision: "defect", note: "forged" };
Promise.all([
  post("/api/review", review, "application/json"), post("/api/review", review, "text/plain"),
  fetch(page + "/api/scores", { credentials: "include" }).then(() => "read", () => "refused"), socket(),
]).then(done);
"""


@contextmanager
def another_site():
    """A site on another port of this host: to a browser the same site, whose requests carry our cookie."""

    class Blank(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>another site</title><link rel=icon href=data:,>")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def part(plant):
    with Line(plant.server, "refused") as line:
        return line.show()


def test_another_site_neither_speaks_nor_listens(browser, plant, part):
    log_in(browser, plant.page, "admin")
    with another_site() as address:
        browser.get(address)
        found = browser.execute_async_script(ATTACK, plant.page.url, "refused", part.key)
    assert found == ["refused"] * 4
    # A form's post arrives, whatever its sender may see of the answer: the store says what came of it.
    frame = in_page(browser, plant, "/api/frame?stream=refused&key=" + part.key)
    assert frame["review"] is None


def test_another_name_for_this_host_is_refused(plant):
    port = urlsplit(plant.page.url).port
    with browsing(f"--host-resolver-rules=MAP {EVIL} 127.0.0.1") as browser:
        browser.get(f"http://{EVIL}:{port}/live")
        until(browser, lambda: EVIL in text_of(browser, "body") or "host" in text_of(browser, "body").lower(),
              "a line that names the host")  # fmt: skip
        assert not every(browser, "#verdict, form")


def test_a_stranger_is_led_to_the_login_and_a_wrong_token_is_told(browser, plant):
    browser.get(f"{plant.page.url}/live?stream=refused")
    until(browser, lambda: urlsplit(browser.current_url).path == "/login", "the login")
    field = until(browser, lambda: one(browser, "form input"), "a field for the token")
    field.send_keys("not-a-token\n")
    until(
        browser, lambda: "token" in text_of(browser, "main").lower() and every(browser, "[role=alert]"), "why"
    )
    browser.get(f"{plant.page.url}/live?stream=refused")
    until(browser, lambda: urlsplit(browser.current_url).path == "/login", "the login, still")


def test_a_viewer_reads_and_does_nothing(browser, plant, part):
    log_in(browser, plant.page, "viewer", f"/part?stream=refused&key={part.key}")
    until(browser, lambda: every(browser, "#words li"), "the part")
    for selector in ("#review-good", "#review-defect", "#review-unsure"):
        assert not any(found.is_displayed() and found.is_enabled() for found in every(browser, selector))
    said = browser.execute_async_script(SPEAK, "refused", part.key)
    assert said == ["forbidden"] * 4
    frame = in_page(browser, plant, "/api/frame?stream=refused&key=" + part.key)
    assert frame["review"] is None


SPEAK = """
const [stream, key, done] = arguments;
const body = { stream, key };
import("/static/common.js").then(({ post }) => Promise.all([
  ["/api/review", { ...body, decision: "good" }],
  ["/api/operate", { ...body, kind: "false_alarm" }],
  ["/api/operate", { stream, kind: "reset" }],
  ["/api/threshold", { stream, rule: "fixed", value: 0.5, preview: false }],
].map(([path, said]) => post(path, said).then(() => "done", (error) => error.code)))).then(done);
"""


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"x-csrf-token": None}, 403),
        ({"x-csrf-token": "of another session"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "null"}, 403),
        ({"host": EVIL}, 421),
        ({"cookie": None}, 401),
        ({"cookie": "session=made-up"}, 401),
    ],
)
def test_each_check_alone_refuses_a_post(session, plant, part, changes, status):
    headers = {name: value for name, value in {**session, **changes}.items() if value is not None}
    body = {"stream": "refused", "key": part.key, "decision": "unsure"}
    assert asked(plant, "POST", "/api/review", headers, body)[0] == status


@pytest.fixture(scope="module")
def session(plant):
    """Headers of an operator's browser that posts."""
    connection = http.client.HTTPConnection(urlsplit(plant.page.url).netloc, timeout=60)
    link = urlsplit(plant.page.logins["operator"])
    connection.request("GET", f"{link.path}?{link.query}")
    cookie = connection.getresponse().getheader("set-cookie").partition(";")[0]
    connection.close()
    headers = {"cookie": cookie, "origin": plant.page.url, "content-type": "application/json"}
    _, hello = asked(plant, "GET", "/api/hello", headers)
    return {**headers, "x-csrf-token": hello["csrf"]}


def asked(plant, method, path, headers, body=None):
    """Status and JSON of a plain HTTP request."""
    connection = http.client.HTTPConnection(urlsplit(plant.page.url).netloc, timeout=60)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def in_page(browser, plant, path):
    """JSON as the page of who is logged in gets it."""
    browser.get(plant.page.url + "/health")
    return browser.execute_async_script(
        "const [path, done] = arguments; fetch(path).then((answer) => answer.json()).then(done);", path
    )
