#!/usr/bin/env python3
"""Clients that others wrote, over TLS and HTTP/2: `make clients` builds what is needed and runs it.

One line per check, in order; the last line counts them. A check whose client is not installed is not made, and that is
said; where `CI` is set it fails. Everything listens on 127.0.0.1.
"""

import argparse
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from websockets.sync.client import connect

sys.path.append(str(Path(__file__).resolve().parent.parent / "page"))

import browser
from parties import FILES, HOST, LARGE, Site

CHECKS = []
POSTED = bytes(reversed(range(256))) * 4096
POSTED_ANSWER = f"{len(POSTED)} {hashlib.sha256(POSTED).hexdigest()}"


def check(client, title):
    """Adds a function to the checks of a client. It gets the site, raises to fail, and may return a detail."""

    def add(function):
        CHECKS.append((client, title, function))
        return function

    return add


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def run(argv, given=b"", code=0):
    """What a program says, both ways; it must end well, and soon."""
    done = subprocess.run([str(word) for word in argv], input=given, capture_output=True, timeout=60)
    said = done.stderr.decode(errors="replace")
    expect(done.returncode == code, f"{argv[0]} ended with {done.returncode}: {said.strip()[-500:]}")
    return done.stdout, said


def curl(site, path, *arguments, secure=True, given=b""):
    """The body, and what curl tells of it: its version of HTTP, the status, whether it was a hit."""
    url = f"https://localhost:{site.secure}{path}" if secure else f"http://localhost:{site.plain}{path}"
    told = "%{http_version} %{response_code} %header{x-cache-status}"
    place = ["--resolve", f"localhost:{site.secure if secure else site.plain}:{HOST}", "--cacert", site.cert]
    body, said = run(
        ["curl", "-sS", "--noproxy", "*", "--max-time", "50", *place, "-w", f"%{{stderr}}{told}", *arguments, url], given
    )
    return body, said.split()


@check("curl", "HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3, and HTTP/2 in clear text")
def versions(site):
    for arguments, version, word, secure in [
        (["--http2"], "2", "HIT", True),
        (["--http2", "--tls-max", "1.2"], "2", "HIT", True),
        (["--http2", "--tlsv1.3"], "2", "HIT", True),
        (["--http1.1"], "1.1", "HIT", True),
        (["--http1.1", "--tls-max", "1.2"], "1.1", "HIT", True),
        (["--http2-prior-knowledge"], "2", "HIT", False),
        # It offers to upgrade, which is passed over.
        (["--http2"], "1.1", "BYPASS", False),
    ]:
        for path, (_, file) in FILES.items():
            for _ in range(2):
                body, told = curl(site, path, *arguments, secure=secure)
                expect(body == file, f"{arguments} {path}: {len(body)} bytes, there are {len(file)}")
            expect(told == [version, "200", word], f"{arguments} {path}: {told}")


@check("curl", "a megabyte posted over HTTP/2, of a length that is told and of one that is not")
def posts(site):
    for arguments in [[], ["-H", "Content-Length:"]]:
        for secure in [True, False]:
            how = ["--http2" if secure else "--http2-prior-knowledge", "--data-binary", "@-", *arguments]
            body, told = curl(site, "/", *how, secure=secure, given=POSTED)
            expect(body.decode() == POSTED_ANSWER and told[:2] == ["2", "200"], f"{how}: {told} {body!r}")


@check("curl", "ten transfers at a time on one connection")
def parallel(site):
    urls = [word for n in range(10) for word in ("-o", os.devnull, f"https://localhost:{site.secure}/large?{n}")]
    _, said = run(
        ["curl", "-sS", "--no-progress-meter", "--noproxy", "*", "--max-time", "50", "--http2", "--parallel", "--parallel-max", "10", "--resolve",
         f"localhost:{site.secure}:{HOST}", "--cacert", site.cert, "-w", "%{stderr}%{response_code} %{num_connects}\n", *urls]
    )
    answers = said.split("\n")[:-1]
    expect(sorted(answers) == ["200 0"] * 9 + ["200 1"], answers)


@check("nghttp", "a page with all it names, on one connection")
def assets(site):
    said, _ = run(["nghttp", "--verbose", "--null-out", "--get-assets", f"https://{HOST}:{site.secure}/"])
    statuses = re.findall(r":status: (\d+)", said.decode(errors="replace"))
    expect(statuses.count("200") >= 3 and set(statuses) == {"200"}, statuses)
    return f"{len(statuses)} answers"


@check("nghttp", "a request with trailers")
def trailers(site):
    for url in [f"https://{HOST}:{site.secure}/", f"http://{HOST}:{site.plain}/"]:
        with tempfile.NamedTemporaryFile() as file:
            file.write(POSTED)
            file.flush()
            body, _ = run(["nghttp", "--data", file.name, "--trailer", "x-digest: none", url])
        expect(body.decode() == POSTED_ANSWER, body)


@check("nghttp", "padding, a small window, and continued fields")
def odd(site):
    url = f"https://{HOST}:{site.secure}/large"
    for arguments in [["--padding", "200"], ["--window-bits", "12"], ["--continuation"], ["--header-table-size", "0"]]:
        body, _ = run(["nghttp", *arguments, url])
        expect(body == LARGE, f"{arguments}: {len(body)} bytes")


@check("h2load", "two thousand requests, twenty at a time on four connections")
def load(site):
    for url in [f"https://{HOST}:{site.secure}/style.css", f"http://{HOST}:{site.plain}/style.css"]:
        said, _ = run(["h2load", "--requests", "2000", "--clients", "4", "--max-concurrent-streams", "20", url])
        line = re.search(r"requests: .*", said.decode())[0]
        expect("2000 succeeded, 0 failed, 0 errored, 0 timeout" in line, line)


@check("openssl", "ALPN, versions, a certificate that is believed, and sessions that are resumed")
def handshakes(site):
    def said(*arguments):
        argv = ["openssl", "s_client", "-connect", f"{HOST}:{site.secure}", "-servername", "localhost", "-CAfile", site.cert]
        return run([*argv, *arguments])[0].decode(errors="replace")

    for version, name in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")]:
        for protocol in ["h2", "http/1.1"]:
            text = said(version, "-alpn", protocol)
            for part in [f"ALPN protocol: {protocol}", name, "Verify return code: 0 (ok)"]:
                expect(part in text, f"{version} {protocol}: no {part}")
    with tempfile.TemporaryDirectory() as folder:
        session = os.path.join(folder, "session")
        expect("New, " in said("-tls1_2", "-sess_out", session), "no new session")
        expect("Reused, " in said("-tls1_2", "-sess_in", session), "it is not resumed")
    argv = ["openssl", "s_client", "-connect", f"{HOST}:{site.secure}", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]
    run(argv, code=1)


@check("websockets", "messages there and back, over TLS and in clear text")
def sockets(site):
    trusting = ssl.create_default_context(cafile=site.cert)
    for url, context in [(f"wss://{HOST}:{site.secure}/socket", trusting), (f"ws://{HOST}:{site.plain}/socket", None)]:
        with connect(url, ssl=context, proxy=None, max_size=None) as connection:
            for message in ["text", "", "\N{HEDGEHOG}" * 1000, LARGE, *map(str, range(200))]:
                connection.send(message)
                expect(connection.recv(timeout=20) == message, f"{url}: another message came back")
            expect(connection.ping().wait(20), f"{url}: no pong")


@check("chromium", "a page over HTTP/2, a post, and a WebSocket")
def chromium(site):
    with browser.Browser(browser.find(), ["--ignore-certificate-errors"]) as page:
        page.open(f"https://localhost:{site.secure}/")
        page.until("the page is there", "document.readyState === 'complete' && window.script === true")
        spoken = page.value(
            "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].map(e => e.nextHopProtocol)"
        )
        expect(len(spoken) == 4 and set(spoken) == {"h2"}, spoken)
        expect(page.value("getComputedStyle(document.getElementById('text')).color") == "rgb(1, 2, 3)", "it has no style")
        answer = page.value("fetch('/', { method: 'POST', body: 'x'.repeat(100000) }).then(answer => answer.text())")
        expect(answer == f"100000 {hashlib.sha256(b'x' * 100000).hexdigest()}", answer)
        came = page.value(
            "new Promise((done, fail) => { const socket = new WebSocket('/socket'.replace(/^/, 'wss://' + location.host));"
            " socket.onopen = () => socket.send('there and back'); socket.onmessage = event => done(event.data); socket.onerror = fail })"
        )
        expect(came == "there and back", came)
        expect(page.errors == [], page.errors)


@check("websockets", "nothing is left under way")
def rest(site):
    end = time.monotonic() + 10
    while left := [name for name in ("hedgerow_requests_in_flight", "hedgerow_client_connections") if site.metric(name)]:
        expect(time.monotonic() < end, f"{left} are not 0")
        time.sleep(0.1)


def is_there(client):
    return client == "websockets" or bool(browser.find() if client == "chromium" else shutil.which(client))


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True)
    options = arguments.parse_args()
    failed, missing = 0, 0
    with tempfile.TemporaryDirectory() as folder, Site(os.path.abspath(options.binary), folder) as site:
        for client, title, function in CHECKS:
            began = time.monotonic()
            if not is_there(client) and not os.environ.get("CI"):
                missing += 1
                print(f"NOT CHECKED  {client}: {title}: there is no {client} here", flush=True)
                continue
            try:
                detail = function(site)
                result = f"ok    {client}: {title}"
            except Exception as error:
                failed += 1
                detail, result = f"{type(error).__name__}: {error}", f"FAIL  {client}: {title}"
            print(f"{result} ({time.monotonic() - began:.1f} s){f': {detail}' if detail else ''}", flush=True)
        if failed:
            print(site.log.read_text(errors="replace")[-2000:])
    print(f"{len(CHECKS) - failed - missing} of {len(CHECKS)} checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
