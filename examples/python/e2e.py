#!/usr/bin/env python3
"""The shop behind a real Hedgerow, checked from outside: `make e2e` builds what is needed and runs it.

One line per check, in order; the last line counts them. Everything listens on 127.0.0.1 and is ended at the end.
"""

import argparse
import hashlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests

import shop
from load import Load
from processes import HOST, Site

# For all checks together; the longest honest run takes about half of it.
TIME_LIMIT = 170
MIB = 1024 * 1024

CHECKS = []


class Failed(Exception):
    """What a check saw is not what it expected."""


class TimeUp(BaseException):
    """The whole run took too long; not an `Exception`, so that no check catches it."""


def check(title):
    """Adds a function to the checks. It gets the site, raises to fail, and may return a detail worth printing."""

    def add(function):
        CHECKS.append((title, function))
        return function

    return add


def expect(condition, message):
    if not condition:
        raise Failed(message)


def session():
    """A client of its own, with its own cookies and connections."""
    client = requests.Session()
    client.trust_env = False  # no proxy between the test and 127.0.0.1
    client.headers["Accept-Encoding"] = "identity"
    return client


def get(site, path, port=None, **how):
    with session() as client:
        return client.request(how.pop("method", "GET"), f"http://{HOST}:{port or site.port}{path}", timeout=30, **how)


def curl(site, path, *arguments):
    argv = ["curl", "-sS", "--noproxy", "*", "--max-time", "60", *arguments, f"http://{HOST}:{site.port}{path}"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=70)
    expect(done.returncode == 0, f"curl ended with {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def eventually(what, condition, seconds=5):
    """For what follows from an action but not at once, such as a log line or a reload by signal."""
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, f"{what}: not within {seconds} s")
        time.sleep(0.05)


def line_of(part, text):
    return text[: text.index(part)].count("\n") + 1


def cache_status(response):
    return response.headers.get("X-Cache-Status")


def orders(site):
    return site.orders.read_text().split() if site.orders.exists() else []


def mixed(number):
    """A page's usual mix: mostly the API, which is never cached, some pages and assets."""
    if number % 10 < 7:
        product = number % shop.PRODUCTS + 1
        return f"/api/price/{product}", f'"product": {product},'
    if number % 10 < 9:
        product = number % 40 + 1
        return f"/products/{product}", f"<title>Product {product}</title>"
    return "/assets/shop.css", ".c1 {"


@check("`hedgerow check` accepts the example's config")
def config_is_accepted(site):
    done = subprocess.run([site.binary, "check", "--config", site.config], capture_output=True, timeout=30)
    expect(done.returncode == 0, f"exit code {done.returncode}: {done.stderr.decode(errors='replace').strip()}")


@check("`hedgerow check` names every mistake with its line, and exits 78")
def mistakes_are_named(site):
    mistakes = {"rise = 1": "rize = 1", 'timeout = "5s"': "timeout = 5", "[cache]": "[cash]"}
    text = site.config.read_text()
    for right, wrong in mistakes.items():
        text = text.replace(right, wrong, 1)
    path = site.directory / "broken.toml"
    path.write_text(text)
    done = subprocess.run([site.binary, "check", "--config", path], capture_output=True, timeout=30)
    said = (done.stdout + done.stderr).decode(errors="replace")
    expect(done.returncode == 78, f"exit code {done.returncode}")
    for wrong in mistakes.values():
        line = line_of(wrong, text)
        expect(f"broken.toml:{line}:" in said, f"line {line} ({wrong}) is not named in: {said.strip()}")
    return f"{len(mistakes)} mistakes"


@check("bodies and headers are the backend's, byte for byte, on a miss and on a hit")
def bodies_are_exact(site):
    paths = ["/", "/products/3", "/login", "/assets/none", *(f"/assets/{name}" for name in shop.ASSETS)]
    for path in paths:
        direct = get(site, path, port=site.shops[0])
        for time_asked in ("first", "second"):
            through = get(site, path)
            where = f"{path}, asked for the {time_asked} time"
            expect(through.status_code == direct.status_code, f"{where}: status {through.status_code}")
            expect(through.content == direct.content, f"{where}: another body of {len(through.content)} bytes")
            for name in ("Content-Type", "Content-Length", "Cache-Control", "ETag", "Last-Modified"):
                there, here = direct.headers.get(name), through.headers.get(name)
                expect(here == there, f"{where}: {name} is {here}, the backend says {there}")
    name, (_, body) = "hero.jpg", shop.ASSETS["hero.jpg"]
    expect(curl(site, f"/assets/{name}") == body, "curl got another image")
    return f"{len(paths)} paths"


@check("an asset is a MISS, then a HIT with Age, and the backend is asked once")
def assets_are_hits(site):
    path = "/assets/shop.js?cold=hits"
    first, second = get(site, path), get(site, path)
    expect(cache_status(first) == "MISS", f"first X-Cache-Status is {cache_status(first)}")
    expect(cache_status(second) == "HIT", f"second X-Cache-Status is {cache_status(second)}")
    expect("; hit" in second.headers.get("Cache-Status", ""), f"Cache-Status is {second.headers.get('Cache-Status')}")
    expect(second.headers["X-Rendered-At"] == first.headers["X-Rendered-At"], "the second answer is another one")
    age = int(second.headers["Age"])
    eventually("Age grows", lambda: int(get(site, path).headers["Age"]) > age, seconds=3)


@check("many at once for a cold page reach the backend as one")
def crowds_are_collapsed(site):
    count = 30
    start = threading.Barrier(count)

    def ask(_):
        start.wait(10)
        return get(site, "/products/500")

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(ask, range(count)))
    expect(all(a.status_code == 200 for a in answers), f"statuses {sorted({a.status_code for a in answers})}")
    made = {a.headers["X-Rendered-At"] for a in answers}
    expect(len(made) == 1, f"{count} clients got {len(made)} different renderings")
    return f"{count} clients"


@check("query parameters that the config drops or sorts do not tell pages apart")
def query_is_normalised(site):
    get(site, "/products/11?a=1&b=2&utm_source=mail")
    for query in ("?b=2&a=1", "?utm_campaign=x&a=1&b=2&gclid=7"):
        status = cache_status(get(site, f"/products/11{query}"))
        expect(status == "HIT", f"{query} is a {status}")
    status = cache_status(get(site, "/products/11?a=2&b=2"))
    expect(status == "MISS", f"another value is a {status}")


@check("two visitors never see each other's session or cookie")
def nothing_leaks(site):
    rounds = 120
    visitors, problems, lock = [], [], threading.Lock()

    def visit(user):
        base = f"http://{HOST}:{site.port}"
        with session() as client:
            landed = client.post(f"{base}/login", data={"user": user}, timeout=30)
            if landed.text != f"You are {user}.\n":
                problems.append(f"{user} logged in and read {landed.text!r}")
            for _ in range(rounds):
                me = client.get(f"{base}/me", timeout=30)
                front = client.get(f"{base}/", timeout=30)
                welcome = client.get(f"{base}/welcome", timeout=30)
                with lock:
                    visitors.append(welcome.cookies.get("visitor"))
                    if me.text != f"You are {user}.\n":
                        problems.append(f"{user} read {me.text!r}")
                    if cache_status(me) == "HIT" or cache_status(welcome) == "HIT":
                        problems.append("a private answer came from the cache")
                    if "Set-Cookie" in front.headers:
                        problems.append("the front page set a cookie")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(visit, ["alice", "bob"]))
    expect(not problems, f"{len(problems)} problems, first: {problems[:1]}")
    expect(None not in visitors, "a visitor got no cookie")
    expect(len(set(visitors)) == 2 * rounds, f"{2 * rounds} visits got {len(set(visitors))} different cookies")
    expect(get(site, "/me").status_code == 401, "someone not logged in is not refused")
    return f"{6 * rounds} interleaved requests"


@check("If-None-Match and If-Modified-Since are answered 304 from the cache")
def conditionals_are_304(site):
    path = "/assets/shop.css"
    full = get(site, path)
    for condition in ({"If-None-Match": full.headers["ETag"]}, {"If-Modified-Since": full.headers["Last-Modified"]}):
        answer = get(site, path, headers=condition)
        expect(answer.status_code == 304, f"{condition} is answered {answer.status_code}")
        expect(answer.content == b"", "the 304 has a body")
        expect(answer.headers.get("ETag") == full.headers["ETag"], f"its ETag is {answer.headers.get('ETag')}")
        expect(cache_status(answer) == "HIT", f"its X-Cache-Status is {cache_status(answer)}")
    answer = get(site, path, headers={"If-None-Match": '"another"'})
    expect(answer.status_code == 200 and answer.content == full.content, "another ETag does not get the whole")


@check("ranges of an asset are exact, cached and cold, for a library and for curl")
def ranges_are_exact(site):
    body = shop.ASSETS["hero.jpg"][1]
    size = len(body)
    get(site, "/assets/hero.jpg")
    for path, kind in (("/assets/hero.jpg", "cached"), ("/assets/hero.jpg?cold=range", "cold")):
        for asked, first, last in (("100-199", 100, 199), ("204790-", 204790, size - 1), ("-5", size - 5, size - 1)):
            answer = get(site, path, headers={"Range": f"bytes={asked}"})
            where = f"{asked} of the {kind} asset"
            expect(answer.status_code == 206, f"{where}: status {answer.status_code}")
            expect(answer.content == body[first : last + 1], f"{where}: other bytes ({len(answer.content)})")
            wanted = f"bytes {first}-{last}/{size}"
            expect(answer.headers.get("Content-Range") == wanted, f"{where}: {answer.headers.get('Content-Range')}")
    expect(curl(site, "/assets/hero.jpg", "-r", "1000-2999") == body[1000:3000], "curl -r got other bytes")
    status = cache_status(get(site, "/assets/hero.jpg", headers={"Range": "bytes=0-9"}))
    expect(status == "HIT", f"a range of the cached asset is a {status}")
    beyond = get(site, "/assets/hero.jpg", headers={"Range": f"bytes={size}-"})
    expect(beyond.status_code == 416, f"a range beyond the end is answered {beyond.status_code}")


@check("HEAD says what GET says, without a body")
def head_is_get_without_body(site):
    for path in ("/assets/hero.jpg", "/products/12", "/assets/shop.js?cold=head"):
        head, whole = get(site, path, method="HEAD"), get(site, path)
        expect(head.status_code == 200, f"{path}: status {head.status_code}")
        expect(head.content == b"", f"{path}: {len(head.content)} bytes of body")
        for name in ("Content-Length", "Content-Type", "ETag"):
            said = head.headers.get(name)
            expect(said == whole.headers.get(name), f"{path}: {name} is {said}, GET says {whole.headers.get(name)}")
    shown = curl(site, "/assets/hero.jpg", "-I").decode()
    expect(re.match(r"HTTP/1\.1 200 ", shown), f"curl -I shows {shown.splitlines()[:1]}")


@check("every answer carries Via, Cache-Status and X-Request-Id")
def answers_are_explained(site):
    ids = set()
    for path in ("/", "/assets/shop.css", "/api/price/1", "/assets/none"):
        for _ in range(2):
            answer = get(site, path)
            for name in ("Via", "Cache-Status", "X-Cache-Status", "X-Request-Id"):
                expect(name in answer.headers, f"{path} has no {name}")
            expect("hedgerow" in answer.headers["Cache-Status"], f"Cache-Status is {answer.headers['Cache-Status']}")
            ids.add(answer.headers["X-Request-Id"])
    expect(len(ids) == 8, f"8 requests have {len(ids)} different ids")


@check("the backend learns who asked from the edge, not from what the client claims")
def forwarding_is_ours(site):
    claims = {"X-Forwarded-For": "192.0.2.66", "X-Forwarded-Proto": "gopher", "Forwarded": "for=192.0.2.66"}
    answer = get(site, "/api/echo", headers={**claims, "Connection": "X-Hop", "X-Hop": "1"})
    arrived = {name.lower(): value for name, value in answer.json()["headers"]}
    said = {"for": HOST, "proto": "http", "host": f"{HOST}:{site.port}"}
    for name, value in said.items():
        got = arrived.get(f"x-forwarded-{name}")
        expect(got == value, f"X-Forwarded-{name.title()} is {got}, expected {value}")
    expect(HOST in arrived.get("forwarded", ""), f"Forwarded is {arrived.get('forwarded')}")
    expect("192.0.2.66" not in json.dumps(arrived), "the client's claim reached the backend")
    expect("x-hop" not in arrived, "a hop-by-hop header reached the backend")
    wanted = answer.headers["X-Request-Id"]
    expect(arrived.get("x-request-id") == wanted, f"the backend saw X-Request-Id {arrived.get('x-request-id')}")


@check("malformed and unwanted requests are refused")
def nonsense_is_refused(site):
    def raw(text, until_closed):
        answer = b""
        with socket.create_connection((HOST, site.port), timeout=10) as stream:
            stream.sendall(text.encode())
            while piece := stream.recv(4096):
                answer += piece
                if not until_closed:
                    break
        return answer.decode(errors="replace").split("\r\n")[0]

    cases = {
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": 400,
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
        "this is not HTTP\r\n\r\n": 400,
        "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n": 405,
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n": 405,
        f"GET /{'x' * 12000} HTTP/1.1\r\nHost: a\r\n\r\n": 414,
        f"GET / HTTP/1.1\r\nHost: a\r\nX-Big: {'x' * 40000}\r\n\r\n": 431,
    }
    for text, status in cases.items():
        line = raw(text, until_closed=status == 400)
        expect(line.split(" ")[1:2] == [str(status)], f"{text[:40]!r} is answered {line!r}, expected {status}")
    return f"{len(cases)} cases"


@check("an upload of 50 MB arrives whole, with a length and chunked")
def uploads_arrive(site):
    body = random.Random("upload").randbytes(50 * MIB)
    wanted = {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    path = site.directory / "upload.bin"
    path.write_bytes(body)
    got = json.loads(curl(site, "/upload", "-T", str(path)))
    expect(got == wanted, f"curl's upload arrived as {got}")
    pieces = (body[i : i + 64 * 1024] for i in range(0, len(body), 64 * 1024))
    got = get(site, "/upload", method="POST", data=pieces).json()
    expect(got == wanted, f"the chunked upload arrived as {got}")
    path.unlink()


@check("a body over the route's limit is refused with 413 before the backend acts on it")
def large_bodies_are_refused(site):
    before = orders(site)
    body = json.dumps({"id": "large", "padding": "x" * (2 * MIB)})
    answer = get(site, "/orders", method="POST", data=body, headers={"Content-Type": "application/json"})
    expect(answer.status_code == 413, f"status {answer.status_code}")
    expect(orders(site) == before, "the order was taken")


@check("a streamed download arrives as it is produced")
def downloads_stream(site):
    lines = read_report(site, chunks=8, pause=0.25)
    expect(len(lines) == 8, f"{len(lines)} of 8 lines arrived")
    lags = [arrived - float(line.split()[-1]) for arrived, line in lines]
    expect(max(lags) < 0.2, f"a line arrived {max(lags) * 1000:.0f} ms after it was made")
    gaps = [later[0] - earlier[0] for earlier, later in zip(lines, lines[1:])]
    expect(min(gaps) > 0.05, f"two lines arrived {min(gaps) * 1000:.0f} ms apart, made 250 ms apart")
    return f"first after {lags[0] * 1000:.0f} ms, latest lag {max(lags) * 1000:.0f} ms"


def read_report(site, chunks, pause, after_first=lambda: None):
    """The lines of a download with the time at which each arrived. Raises if it is cut short."""
    connection = http.client.HTTPConnection(HOST, site.port, timeout=30)
    connection.request("GET", f"/report?chunks={chunks}&pause={pause}")
    response = connection.getresponse()
    expect(response.status == 200, f"status {response.status}")
    lines = []
    while line := response.readline():
        lines.append((time.time(), line.decode()))
        if len(lines) == 1:
            after_first()
    return lines


def backends_of(site, paths):
    """Which backend answered each, asked for 16 at a time."""
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda path: get(site, path), paths)
        return [int(answer.headers["X-Served-By"].split("/")[0]) for answer in answers]


@check("requests are spread over both backends")
def both_are_used(site):
    # Cold pages take 50 ms each on either; the API's rare stalls would tell against whoever had one.
    used = backends_of(site, [f"/products/{number}" for number in range(601, 701)])
    shares = [used.count(port) for port in site.shops]
    expect(min(shares) >= 20, f"of 100 requests they got {shares}")
    return " and ".join(map(str, shares))


@check("a POST reaches a backend exactly once")
def posts_are_sent_once(site):
    ids = [f"order-{n}" for n in range(100)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda i: get(site, "/orders", method="POST", json={"id": i}).status_code, ids))
    expect(set(statuses) == {201}, f"statuses {sorted(set(statuses))}")
    taken = [i for i in map(json.loads, orders(site)) if i.startswith("order-")]
    expect(sorted(taken) == sorted(ids), f"{len(ids)} orders were sent, {len(taken)} taken")


@check("a POST whose backend dies is answered 502 and not sent again")
def posts_are_not_repeated(site):
    answer = get(site, "/faults/die", method="POST", json={"id": "fatal"})
    expect(answer.status_code == 502, f"status {answer.status_code}")
    expect("Proxy-Status" in answer.headers, "there is no Proxy-Status")
    taken = orders(site).count('"fatal"')
    expect(taken == 1, f"the order was taken {taken} times")


@check("a gunicorn killed and restarted under 200 GET/s costs no GET")
def a_killed_backend_costs_nothing(site):
    victim = site.shops[1]
    with Load(site.port, rate=200, seconds=10, request=mixed) as load:
        time.sleep(3)
        site.kill_gunicorn(victim)
        time.sleep(3)
        site.start_gunicorn(victim)
    expect(not load.problem(), load.problem())

    def is_back():
        return victim in backends_of(site, ["/api/echo"] * 32)

    eventually("the restarted gunicorn is used again", is_back, seconds=20)
    return load.summary()


@check("the operator's listener tells health, pools, config and metrics")
def admin_tells(site):
    for path in ("/healthz", "/readyz"):
        expect(get(site, path, port=site.admin).status_code == 200, f"{path} is not 200")
    pools = get(site, "/pools", port=site.admin)
    for port in site.shops:
        expect(f"{HOST}:{port}" in json.dumps(pools.json()), f"/pools does not know {port}")
    expect("max_body" in get(site, "/config", port=site.admin).text, "/config does not show max_body")
    metrics = get(site, "/metrics", port=site.admin).text
    expect(re.search(r"^hedgerow_\w+(\{[^}]*\})? \d", metrics, re.M), "/metrics has no sample named hedgerow_")


@check("the access log has one JSON line per request")
def every_request_is_logged(site):
    wanted = {f"/products/{n}" for n in range(801, 831)}
    for path in sorted(wanted):
        get(site, path)
    curl(site, "/products/831", "-I")
    get(site, "/missing/831")

    def logged():
        text = site.access_log.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def ours(entry):
        return entry.get("path") in wanted | {"/products/831", "/missing/831"}

    eventually("32 lines", lambda: sum(map(ours, logged())) >= 32)
    time.sleep(0.3)  # a line too many would come now
    lines = [entry for entry in logged() if ours(entry)]
    expect(len(lines) == 32, f"32 requests have {len(lines)} lines")
    pages = {entry["path"] for entry in lines if (entry["method"], entry["status"]) == ("GET", 200)}
    expect(pages == wanted, f"of {len(wanted)} pages {len(pages)} are logged as a GET with 200")
    expect([e["method"] for e in lines if e["path"] == "/products/831"] == ["HEAD"], "the HEAD is not logged as HEAD")
    expect([e["status"] for e in lines if e["path"] == "/missing/831"] == [404], "the 404 is not logged as 404")
    return f"{len(logged())} lines in all"


def upload_status(site):
    return get(site, "/upload", method="PUT", data=b"x" * 2048).status_code


# A change of config that shows from outside: 2 KiB are then too much to upload.
SMALLER = {'max_body = "100MiB"': 'max_body = "1KiB"'}


@check("a reload by SIGHUP under 200 GET/s takes effect and costs no request")
def reloads_cost_nothing(site):
    with ThreadPoolExecutor(1) as pool, Load(site.port, rate=200, seconds=5, request=mixed) as load:
        download = pool.submit(read_report, site, chunks=10, pause=0.3)
        for turn in range(6):
            time.sleep(0.5)
            site.write_config(SMALLER if turn % 2 else {})
            site.edge.send_signal(signal.SIGHUP)
        eventually("the new limit holds", lambda: upload_status(site) == 413)
        lines = len(download.result(timeout=30))
    expect(not load.problem(), load.problem())
    expect(lines == 10, f"{lines} of 10 lines of a download under way arrived")
    return f"6 reloads, {load.summary()}"


@check("a broken config is refused with its line, and the old one stays")
def broken_configs_are_refused(site):
    site.write_config({'max_body = "100MiB"': "max_body = 100"})
    said = len(site.edge_log.read_text())
    site.edge.send_signal(signal.SIGHUP)
    line = line_of("max_body = 100", site.config.read_text())
    eventually(f"the log names line {line}", lambda: f"hedgerow.toml:{line}:" in site.edge_log.read_text()[said:])
    answer = get(site, "/reload", port=site.admin, method="POST")
    expect(answer.status_code >= 400, f"POST /reload is answered {answer.status_code}")
    expect(f"hedgerow.toml:{line}:" in answer.text, f"POST /reload says {answer.text.strip()[:200]!r}")
    expect(upload_status(site) == 413, "the old limit no longer holds")


@check("POST /reload takes the mended config")
def reload_on_request(site):
    site.write_config()
    answer = get(site, "/reload", port=site.admin, method="POST")
    expect(answer.status_code < 300, f"POST /reload is answered {answer.status_code}: {answer.text.strip()[:200]}")
    expect(upload_status(site) == 200, "the mended limit does not hold")


@check("SIGTERM during a download finishes it, takes no new client and exits 0")
def shutdown_is_clean(site):
    refused = []

    def terminate():
        site.edge.send_signal(signal.SIGTERM)
        threading.Timer(1.0, try_to_connect).start()

    def try_to_connect():
        try:
            get(site, "/assets/shop.css")
            refused.append(False)
        except requests.ConnectionError:
            refused.append(True)

    start = time.monotonic()
    lines = read_report(site, chunks=8, pause=0.4, after_first=terminate)
    expect(len(lines) == 8, f"{len(lines)} of 8 lines arrived")
    try:
        code = site.edge.wait(timeout=12)
    except subprocess.TimeoutExpired:
        raise Failed("it still runs 12 s after the download") from None
    took = time.monotonic() - start
    expect(code == 0, f"exit code {code}")
    expect(refused == [True], "a client that came a second later was served")
    expect(took < 12, f"it took {took:.1f} s")
    return f"gone after {took:.1f} s"


class Tally:
    """What came of the checks so far."""

    passed = failed = 0

    def run(self, site):
        for title, function in CHECKS:
            try:
                expect(site.edge.poll() is None, f"the edge ended with code {site.edge.returncode}")
                detail = function(site)
                self.passed += 1
                print(f"PASS  {title}" + (f" ({detail})" if detail else ""), flush=True)
            except TimeUp:
                self.fail(f"{title}: the whole run took more than {TIME_LIMIT} s")
                return
            except Failed as failure:
                self.fail(f"{title}: {failure}")
            except Exception as error:
                self.fail(f"{title}: {type(error).__name__}: {error}")

    def fail(self, message):
        self.failed += 1
        print(f"FAIL  {message}", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--binary", required=True, help="the hedgerow binary")
    binary = os.path.abspath(arguments.parse_args().binary)
    if not os.access(binary, os.X_OK):
        sys.exit(f"{binary} is not a program; `make build` makes it")

    def time_up(*_):
        raise TimeUp

    def stop(number, _):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGALRM, time_up)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.alarm(TIME_LIMIT)

    tally = Tally()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hedgerow-e2e-") as directory:
        try:
            with Site(binary, directory) as site:
                tally.run(site)
                if tally.failed:
                    print(site.tails())
        except (RuntimeError, TimeUp) as error:
            tally.fail(f"the site did not start: {error}")
    print(f"in {time.monotonic() - start:.0f} s")
    print(f"{tally.passed} passed, {tally.failed} failed", flush=True)
    # Not sys.exit: after a failure it could wait for a client thread that is still in a request.
    os._exit(1 if tally.failed else 0)


if __name__ == "__main__":
    main()
