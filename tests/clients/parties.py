"""What the clients talk to: a backend, one for WebSockets, and an edge before them that speaks TLS, HTTP/2 and HTTP/1.1."""

import hashlib
import http.client
import http.server
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

HOST = "127.0.0.1"
LARGE = bytes(range(256)) * 8192

CONFIG = """
[server]
admin = "{host}:{admin}"
limits = {{ head_size = "64KiB" }}
[[listener]]
address = "{host}:{secure}"
tls = {{ certificates = [{{ cert = "{cert}", key = "{key}" }}] }}
[[listener]]
address = "{host}:{plain}"
protocols = ["h1", "h2"]
[access_log]
format = "off"
[[pool]]
name = "web"
backends = ["{backend}"]
[[pool]]
name = "sockets"
backends = ["{sockets}"]
[[route]]
pool = "web"
[[route]]
match = {{ path = "/socket" }}
pool = "sockets"
"""

PAGE = b"""<!doctype html><title>Clients</title><link rel=icon href="data:,"><link rel=stylesheet href=/style.css>
<script src=/script.js></script><img src=/picture.svg alt=""><p id=text>the page</p>"""

FILES = {
    "/": ("text/html", PAGE),
    "/style.css": ("text/css", b"p { color: rgb(1, 2, 3) }"),
    "/script.js": ("text/javascript", b"window.script = true"),
    "/picture.svg": ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"/>'),
    "/large": ("application/octet-stream", LARGE),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Files that may be stored; what is posted comes back as its length and its digest."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        kind, body = FILES.get(self.path.partition("?")[0], ("text/plain", None))
        self.answer(200 if body else 404, kind, body or b"not here", "max-age=60")

    def do_POST(self):
        body = self.body()
        self.answer(200, "text/plain", f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode(), "no-store")

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while length := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def answer(self, status, kind, body, caching):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", caching)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def echo(connection):
    try:
        for message in connection:
            connection.send(message)
    except ConnectionClosed:
        pass  # a browser that has gone says nothing


class Site:
    """Everything that runs. Leaving it ends what it started."""

    def __init__(self, binary, directory):
        self.binary = binary
        self.directory = Path(directory)
        self.cert, self.key = self.directory / "cert.pem", self.directory / "key.pem"
        self.log = self.directory / "edge.log"
        self.secure, self.plain, self.admin = free_ports(3)
        self.backend = Server((HOST, 0), Handler)
        self.sockets = serve(echo, HOST, 0, max_size=None)
        self.edge = None

    def __enter__(self):
        for server in (self.backend, self.sockets):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        sign(self.cert, self.key)
        config = self.directory / "hedgerow.toml"
        config.write_text(CONFIG.format(
            host=HOST, admin=self.admin, secure=self.secure, plain=self.plain, cert=self.cert, key=self.key,
            backend=f"{HOST}:{self.backend.server_address[1]}", sockets=f"{HOST}:{self.sockets.socket.getsockname()[1]}",
        ))
        with open(self.log, "ab") as log:
            argv = [self.binary, "run", "--config", config]
            self.edge = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 15
        while not self.is_ready():
            if self.edge.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise RuntimeError(f"the edge does not serve:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        if self.edge and self.edge.poll() is None:
            os.killpg(self.edge.pid, signal.SIGKILL)
            self.edge.wait()
        self.backend.shutdown()
        self.sockets.shutdown()

    def is_ready(self):
        try:
            return self.ask("/readyz")[0] == 200
        except OSError:
            return False

    def ask(self, path):
        """Status and text of one GET to the admin listener."""
        connection = http.client.HTTPConnection(HOST, self.admin, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, name):
        """The sum of a metric's samples."""
        lines = (line.split(" ") for line in self.ask("/metrics")[1].splitlines() if line.split("{")[0].split(" ")[0] == name)
        return sum(float(value) for *_, value in lines)


def sign(cert, key):
    """A certificate for this host that vouches for itself."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:{HOST}", "-out", cert, "-keyout", key],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=30,
    )
    if made.returncode:
        raise RuntimeError(f"openssl made no certificate: {made.stderr.decode(errors='replace')}")


def free_ports(count):
    """Ports that are free now; held together while choosing, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
