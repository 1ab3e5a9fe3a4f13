"""What the page refuses: foreign names and pages, wrong tokens, other roles, and too much of anything."""

import contextlib
import http.client
import json
import socket
import ssl
import stat
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest
from streamer_support import until
from web_support import PATIENCE_S, Visitor, certificate, page_on, token_of
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from streamer.page.tokens import Tokens

READS = (
    "hello", "streams", "scores", "frame?stream=a&key=i:1", "picture?stream=a&key=i:1",
    "grid?stream=a&key=i:1", "map.png?stream=a&key=i:1", "events", "alarms", "threshold?stream=a", "report",
    "report.csv", "export.csv", "audit",
)  # fmt: skip
FRAME = {"stream": "line", "key": "s:part-1"}
WRITES = {
    "operator": (
        ("/api/operate", {"kind": "false_alarm", **FRAME}),
        ("/api/threshold", {"stream": "line", "preview": True}),
        ("/api/review", {**FRAME, "decision": "good"}),
        ("/api/ack", {"id": 1}),
    ),
    "admin": (
        ("/api/operate", {"kind": "reset", "stream": "line"}),
        ("/api/operate", {"kind": "flush"}),
        ("/api/operate", {"kind": "snapshot"}),
        ("/api/operate", {"kind": "shutdown"}),
        ("/api/threshold", {"stream": "line", "preview": False, "value": 0.5}),
    ),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with page_on(
        tmp_path_factory.mktemp("page"),
        listen={"hosts": ["line-1.plant.example"], "proxies": ["127.0.0.2"]},
    ) as page:
        yield page


@pytest.fixture
def somebody(page):
    with Visitor(page.url) as visitor:
        yield visitor


@pytest.fixture(params=["viewer", "operator", "admin"])
def role(request):
    return request.param


@pytest.fixture
def admin(page, somebody):
    return somebody.redeem(page.logins["admin"])


def error(answer):
    said = answer.json()
    assert set(said) == {"error", "code"}
    assert "\n" not in said["error"]
    return answer.status_code, said["code"]


def exchange(page, request, *, local="127.0.0.1", body=True):
    """What a request as it stands on the wire is answered."""
    port = urlsplit(page.url).port
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S, (local, 0)) as raw:
        raw.sendall(request.encode("latin-1"))
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        return answer.status, answer.read() if body else b""


@pytest.mark.parametrize("path", READS)
def test_nothing_is_read_without_a_session(somebody, path):
    assert error(somebody.http.get(f"/api/{path}")) == (401, "login")


def test_pages_lead_to_the_login_and_back(somebody):
    for name in ("live", "gallery", "part", "threshold", "events", "report", "health", "wall"):
        answer = somebody.http.get(f"/{name}?stream=a%20b")
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/login?next=%2F{name}%3Fstream%3Da%2520b"
    assert somebody.http.get("/login").status_code == 200
    assert error(somebody.http.get("/openapi.json")) == (401, "login")
    assert somebody.http.get("/healthz").json() == {"ok": True}


def test_the_schema_is_our_own_and_needs_a_session(admin):
    assert "/api/operate" in admin.get("/openapi.json")["paths"]
    for path in ("/docs", "/redoc"):
        assert admin.http.get(path).status_code == 404


@pytest.mark.parametrize(
    "path", ["../store.py", "..%2fstore.py", "%2e%2e/app.py", "/etc/passwd", "nothing.js"]
)
def test_no_other_file_is_given_out(admin, page, path):
    status, _ = exchange(page, f"GET /static/{path} HTTP/1.1\r\nHost: {urlsplit(page.url).netloc}\r\n\r\n")
    assert status == 404


def test_the_token_leaves_the_address_at_once(page, somebody):
    answer = somebody.http.get(page.logins["operator"])
    assert answer.status_code == 303
    assert "token" not in answer.headers["location"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    (cookie,) = answer.headers.get_list("set-cookie")
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    assert token_of(page, "operator") not in cookie
    assert somebody.get("/api/hello")["role"] == "operator"
    assert token_of(page, "operator") not in page.log.partition("login")[2]


def test_headers_that_every_answer_has(admin, page):
    for path in ("/live", "/api/hello", "/static/style.css", "/nothing", "/api/frame"):
        headers = admin.http.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert f"ws://{urlsplit(page.url).netloc}" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
    assert admin.http.get("/api/hello").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.1.2.3", "", "[::1", "a@127.0.0.1"],
)
def test_foreign_names_are_refused(admin, host):
    """A name of somebody else that resolves to this machine reads nothing, with our cookie or without."""
    assert error(admin.http.get("/api/hello", headers={"Host": host})) == (421, "bad_host")
    assert admin.http.get("/healthz", headers={"Host": host}).status_code == 421


def test_our_names_are_not_refused(admin, page):
    port = urlsplit(page.url).port
    for host in (f"localhost:{port}", "127.0.0.1", f"LINE-1.plant.example:{port}", "line-1.plant.example"):
        assert admin.http.get("/healthz", headers={"Host": host}).status_code == 200


def test_one_host_and_only_one(page):
    netloc = urlsplit(page.url).netloc
    assert exchange(page, "GET /healthz HTTP/1.0\r\n\r\n")[0] == 421
    twice = f"GET /healthz HTTP/1.1\r\nHost: {netloc}\r\nHost: evil.example\r\n\r\n"
    assert exchange(page, twice)[0] in {400, 421}


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "https://{netloc}", "http://{netloc}0"]
)
def test_nothing_changes_from_another_page(admin, page, origin):
    origin = origin.format(netloc=urlsplit(page.url).netloc)
    body = {"token": token_of(page, "admin")}
    assert error(admin.post("/api/login", body, Origin=origin)) == (403, "bad_origin")
    assert error(admin.post("/api/ack", {"id": 1}, Origin=origin)) == (403, "bad_origin")
    assert upgraded(page, admin, origin=origin) == 403


def test_nothing_changes_without_the_session_s_csrf_token(page, admin):
    with Visitor(page.url) as other:
        foreign = other.redeem(page.logins["admin"]).csrf
    assert foreign != admin.csrf
    for shown in ("", "x", foreign):
        assert error(admin.post("/api/ack", {"id": 1}, X_CSRF_Token=shown)) == (403, "csrf")
    assert error(admin.post("/api/ack", {"id": 1})) == (400, "bad_value")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_forms_of_other_pages_change_nothing(admin, kind):
    assert error(admin.post("/api/ack", {"id": 1}, Content_Type=kind or "a")) == (415, "bad_type")


@pytest.mark.parametrize("needed", WRITES)
def test_who_may_change_what(page, somebody, role, needed):
    somebody.redeem(page.logins[role])
    ranks = ["viewer", "operator", "admin"]
    may = ranks.index(role) >= ranks.index(needed)
    for path, body in WRITES[needed]:
        status, code = error(somebody.post(path, body))
        # Whoever may gets further: to a detector that this page does not ask, or a frame that is not there.
        assert ((status, code) == (403, "forbidden")) != may, (path, body)
        assert may == (code in {"no_detector", "bad_value"}), (path, body)


def test_every_route_that_changes_something_needs_a_session(somebody):
    for path, body in [*WRITES["operator"], *WRITES["admin"], ("/api/logout", {})]:
        assert error(somebody.post(path, body)) == (401, "login")


def test_every_route_is_in_these_tests(admin):
    paths = admin.get("/openapi.json")["paths"]
    reads = {f"/api/{path.partition('?')[0]}" for path in READS}
    writes = {path for listed in WRITES.values() for path, _ in listed} | {"/api/login", "/api/logout"}
    assert set(paths) == reads | writes


def test_cookies_that_are_not_ours(page, admin):
    name, value = next(iter(admin.http.cookies.items()))
    content, rest = value.split(".", 1)
    for forged in (
        f"{content[:-4]}AAAA.{rest}",
        f"{content}.{rest[:-1]}",
        content,
        "",
        "x" * 3000,
        "eyJuYW1lIjoiYWRtaW4ifQ.a.b",
    ):
        with Visitor(page.url, cookies={name: forged}) as visitor:
            assert error(visitor.http.get("/api/hello")) == (401, "login")


def test_logging_out_ends_the_session_wherever_its_cookie_went(page, admin):
    with Visitor(page.url, cookies=dict(admin.http.cookies)) as thief:
        assert thief.get("/api/hello")["role"] == "admin"
        with listen(page, admin) as heard:
            assert json.loads(heard.recv(PATIENCE_S))["type"] == "hello"
            assert admin.post("/api/logout", {}).status_code == 200
            assert error(thief.http.get("/api/hello")) == (401, "login")
            assert closing(heard) == 4401


def test_a_token_taken_away_ends_its_sessions_without_a_restart(tmp_path):
    with page_on(tmp_path) as page, Visitor(page.url) as guest:
        tokens = Tokens(tmp_path / "store")
        guest.redeem(f"/login?token={tokens.add('guest:viewer').token}")
        assert guest.get("/api/hello")["who"] == "guest"
        tokens.add("guest:operator")
        assert error(guest.http.get("/api/hello")) == (401, "login")
        guest.redeem(f"/login?token={Tokens(tmp_path / 'store').named('guest').token}")
        assert guest.get("/api/hello")["role"] == "operator"
        Tokens(tmp_path / "store").remove("guest")
        assert error(guest.http.get("/api/hello")) == (401, "login")


def test_wrong_tokens_are_counted_and_a_right_one_is_not_held_up(tmp_path):
    with page_on(tmp_path) as page, Visitor(page.url) as visitor:
        answers = [error(visitor.post("/api/login", {"token": f"guess-{n}"})) for n in range(12)]
        assert answers == [(401, "login")] * 10 + [(429, "too_many")] * 2
        refused = visitor.http.get("/login", params={"token": "guess"})
        assert (refused.status_code, refused.headers["location"]) == (303, "/login?refused=too_many")
        answer = visitor.post("/api/login", {"token": token_of(page, "viewer"), "name": "Anna Ü."})
        assert answer.status_code == 200
        assert visitor.get("/api/hello")["who"] == "Anna Ü. (viewer)"
        assert "guess" not in page.log


def test_files_are_their_owner_s(tmp_path):
    with page_on(tmp_path):
        for name in ("tokens.json", "session.key"):
            assert stat.S_IMODE((tmp_path / "store" / name).stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "page-ready.json").stat().st_mode) == 0o600
        tokens = json.loads((tmp_path / "store" / "tokens.json").read_text())
        assert {name: entry["role"] for name, entry in tokens.items()} == {
            name: name for name in ("admin", "operator", "viewer")
        }
        assert min(len(entry["token"]) for entry in tokens.values()) >= 43


def test_bodies_are_bounded(admin, page):
    long = {"id": 1, "who": "x" * 70_000}
    assert error(admin.post("/api/ack", long)) == (413, "too_large")
    netloc = urlsplit(page.url).netloc
    head = (
        f"POST /api/ack HTTP/1.1\r\nHost: {netloc}\r\nOrigin: {page.url}\r\nCookie: {admin.cookie}\r\n"
        f"X-CSRF-Token: {admin.csrf}\r\nContent-Type: application/json\r\n"
    )
    chunks = "".join(f"2710\r\n{' ' * 10_000}\r\n" for _ in range(8))
    status, _ = exchange(page, f"{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
    assert status == 400
    assert exchange(page, f"{head}Content-Length: 99999999999999999999\r\n\r\n")[0] == 413
    assert exchange(page, f"{head}Content-Length: -5\r\n\r\n")[0] in {400, 413}


@pytest.mark.parametrize(
    "sent",
    [
        "[" * 30_000,
        "nan",
        '{"id": 9223372036854775808}',
        '{"id": -1}',
        '{"id": NaN}',
        '{"id": 1e999}',
        '"',
        "\x00",
        "{}",
        "[]",
        "null",
    ],
)
def test_bodies_that_are_not_what_they_should_be(admin, sent):
    headers = {"Origin": admin.url, "X-CSRF-Token": admin.csrf, "Content-Type": "application/json"}
    answer = admin.http.post("/api/ack", content=sent, headers=headers)
    assert error(answer) in {(422, "bad_value"), (400, "bad_value")}


def test_addresses_are_bounded(admin):
    assert error(admin.http.get("/api/scores", params={"q": "x" * 5000})) == (414, "too_long")
    for params in (
        {"stream": "a/b"}, {"stream": "x" * 200}, {"limit": 0}, {"limit": 10**9}, {"from": "nan"},
        {"to": "inf"},
        {"verdict": "x"}, {"sort": "raw; DROP TABLE frame"}, {"cursor": "x"}, {"since": -1}, {"other": 1},
        {"q": "x" * 300}, {"q": "\x00"},
    ):  # fmt: skip
        assert error(admin.http.get("/api/scores", params=params))[0] in {400, 422}, params
    for key in ("17", "i:x", "s:", "i:99999999999999999999", "../../page.sqlite", "s:" + "x" * 300):
        assert error(admin.http.get("/api/picture", params={"stream": "line", "key": key}))[0] in {
            404,
            422,
        }, key


def test_only_the_methods_there_are(admin, page):
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert admin.http.request(method, "/api/hello", headers={"Origin": page.url}).status_code == 405
    assert exchange(page, f"TRACE / HTTP/1.1\r\nHost: {urlsplit(page.url).netloc}\r\n\r\n")[0] == 403


def test_a_head_is_bounded_and_a_slow_one_is_given_up(page):
    netloc = urlsplit(page.url).netloc
    with suppress(ConnectionResetError):  # of who sends on, the answer may be lost
        long = f"GET /healthz HTTP/1.1\r\nHost: {netloc}\r\nX: {'x' * 400_000}\r\n\r\n"
        assert exchange(page, long)[0] == 400
    with socket.create_connection(("127.0.0.1", urlsplit(page.url).port), PATIENCE_S) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        assert slow.recv(1) == b""


def test_connections_are_bounded_and_idle_ones_leave(tmp_path):
    with page_on(tmp_path, listen={"connections": 10}) as page:
        port = urlsplit(page.url).port
        idle = [socket.create_connection(("127.0.0.1", port), PATIENCE_S) for _ in range(30)]
        with Visitor(page.url) as visitor:
            refused = visitor.http.get("/healthz")
            assert refused.status_code == 503
            for one in idle:
                assert one.recv(1) == b""
                one.close()
            assert visitor.http.get("/healthz").status_code == 200


def test_an_address_of_both_kinds_is_the_page_s(tmp_path):
    """A socket that is bound to IPv6 has IPv4 browsers too, whose addresses it writes in its own way."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    cert, key = certificate(tmp_path, "IP:127.0.0.1")
    settings = {"address": "[::]:0", "tls_cert": str(cert), "tls_key": str(key), "proxies": ["127.0.0.1"]}
    with page_on(tmp_path, listen=settings) as page:
        url = f"https://127.0.0.1:{urlsplit(page.url).port}"
        with Visitor(url, verify=ssl.create_default_context(cafile=str(cert))) as visitor:
            assert visitor.http.get("/healthz").status_code == 200
            said = visitor.http.get("/api/hello", headers={"X-Forwarded-User": "viewer"})
            assert said.json()["who"] == "viewer"


def listen(page, visitor=None, *, origin="", host=None, query=""):
    headers = {} if visitor is None else {"Cookie": visitor.cookie}
    if host is not None:
        headers["Host"] = host
    return connect(
        f"{page.url.replace('http', 'ws', 1)}/ws{query}",
        origin=page.url if origin == "" else origin,
        additional_headers=headers,
        open_timeout=PATIENCE_S,
        proxy=None,
    )


def upgraded(page, visitor=None, *, origin=None, query=""):
    """The status that a browser is answered that asks for a WebSocket."""
    lines = [
        f"GET /ws{query} HTTP/1.1", f"Host: {urlsplit(page.url).netloc}", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]  # fmt: skip
    origin = page.url if origin is None else origin
    lines += [f"Origin: {origin}"] * bool(origin)
    lines += [] if visitor is None else [f"Cookie: {visitor.cookie}"]
    return exchange(page, "\r\n".join(lines) + "\r\n\r\n", body=False)[0]


def closing(heard):
    """The code that a WebSocket is closed with; what comes before is passed over."""
    try:
        while True:
            heard.recv(PATIENCE_S)
    except ConnectionClosed as closed:
        return closed.rcvd.code


def test_the_socket_says_hello_and_hears_nothing_of_weight(page, admin):
    with listen(page, admin, query="?cursor=0&streams=%5B%22line%22%5D") as heard:
        hello = json.loads(heard.recv(PATIENCE_S))
        assert {"type", "cursor", "detector", "role"} <= set(hello)
        assert (hello["type"], hello["role"]) == ("hello", "admin")
        heard.send("x" * 10_000)
        assert closing(heard) == 1009


def test_the_socket_needs_a_session_and_our_names(page, admin):
    assert upgraded(page) == 403
    for query in ("?cursor=x", "?cursor=-1", f"?streams={'x' * 3000}"):
        assert upgraded(page, admin, query=query) == 403
    with Visitor(page.url) as viewer:
        viewer.redeem(page.logins["viewer"])
        # Who leaves before the first message is no fault that the log would tell of.
        assert [upgraded(page, viewer) for _ in range(20)] == [101] * 20
        assert viewer.get("/api/hello")["role"] == "viewer"


def test_sockets_leave_room_for_requests(tmp_path):
    with page_on(tmp_path, listen={"connections": 10}) as page, Visitor(page.url) as viewer:
        viewer.redeem(page.logins["viewer"])
        with ExitStack() as opened:
            for _ in range(5):
                opened.enter_context(listen(page, viewer))
            assert upgraded(page, viewer) == 403
            assert viewer.get("/api/hello")["role"] == "viewer"
        until(lambda: upgraded(page, viewer) == 101)


def test_only_named_proxies_are_believed(page):
    netloc = urlsplit(page.url).netloc

    def hello(local, *headers):
        lines = "".join(f"{line}\r\n" for line in headers)
        request = f"GET /api/hello HTTP/1.1\r\nHost: {netloc}\r\n{lines}\r\n"
        status, body = exchange(page, request, local=local)
        return status, json.loads(body).get("who")

    assert hello("127.0.0.2", "X-Forwarded-User: operator") == (200, "operator")
    assert hello("127.0.0.1", "X-Forwarded-User: operator") == (401, None)
    assert hello("127.0.0.3", "X-Forwarded-User: admin") == (401, None)
    assert hello("127.0.0.1", "X-Forwarded-For: 127.0.0.2", "X-Forwarded-User: admin") == (401, None)
    assert hello("127.0.0.2", "X-Forwarded-User: nobody") == (401, None)
    assert hello("127.0.0.2", "X-Forwarded-User: viewer", "X-Forwarded-User: admin") == (401, None)


def test_tls_on_every_address(tmp_path):
    cert, key = certificate(tmp_path, "DNS:localhost", "IP:127.0.0.1")
    listening = {"address": "0.0.0.0:0", "tls_cert": str(cert), "tls_key": str(key), "hosts": ["localhost"]}
    with page_on(tmp_path, listen=listening) as page:
        assert page.url.startswith("https://localhost:")
        with Visitor(page.url, verify=ssl.create_default_context(cafile=cert)) as visitor:
            answer = visitor.http.get(page.logins["viewer"])
            (cookie,) = answer.headers.get_list("set-cookie")
            assert cookie.startswith("__Host-musc_page_")
            assert "Secure" in cookie.split("; ")
            assert visitor.get("/api/hello")["role"] == "viewer"
            # Not loopback: its names are no names of the page, but the address it was reached at is.
            port = urlsplit(page.url).port
            numeric = f"https://127.0.0.1:{port}"
            with Visitor(numeric, verify=ssl.create_default_context(cafile=cert)) as other:
                assert other.http.get("/healthz").status_code == 200
            assert error(visitor.http.get("/healthz", headers={"Host": "10.0.0.1"})) == (421, "bad_host")
            plain = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            with pytest.raises((http.client.HTTPException, OSError)):
                ask_plainly(plain)


def ask_plainly(plain):
    with contextlib.closing(plain):
        plain.request("GET", "/healthz")
        plain.getresponse()
