"""What the page shows: three small backends that can be told to be slow, an edge before them, and clients."""

import http.client
import http.server
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

HOST = "127.0.0.1"

CONFIG = """
[server]
listen = ["{host}:{port}"]
admin = "{host}:{admin}"
[access_log]
format = "off"
[[pool]]
name = "web"
backends = [{backends}]
[[route]]
name = "pages"
pool = "web"
[route.cache]
enabled = false
[[route]]
name = "assets"
match = {{ path = "/assets/**" }}
pool = "web"
[route.cache]
ttl = {{ default = "0s", 200 = "5s" }}
"""


class Backend:
    """A server whose answers take some milliseconds, or `slow` seconds more."""

    def __init__(self):
        backend = self
        self.slow = 0.0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if self.path.startswith("/held"):
                    time.sleep(2.5)
                time.sleep(random.uniform(0.004, 0.010) + backend.slow)
                body = b"hello"
                self.send_response(200)
                self.send_header("Content-Type", "text/css" if self.path.endswith(".css") else "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass  # a client that has gone, such as the loser of a race

        self.server = Server((HOST, 0), Handler)
        self.address = f"{HOST}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Site:
    """Everything that runs. Leaving it ends what it started."""

    def __init__(self, binary, directory):
        self.binary = binary
        self.config = Path(directory) / "hedgerow.toml"
        self.log = Path(directory) / "edge.log"
        self.backends = [Backend() for _ in range(3)]
        self.port, self.admin = free_ports(2)
        self.edge = None
        self.stopped = threading.Event()
        self.failures = 0

    def __enter__(self):
        self.write_config()
        self.start_edge()
        for number in range(8):
            threading.Thread(target=self.client, args=(number,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.stop_edge()
        for backend in self.backends:
            backend.server.shutdown()

    def write_config(self, more=""):
        backends = ", ".join(f'"{backend.address}"' for backend in self.backends)
        text = CONFIG.format(host=HOST, port=self.port, admin=self.admin, backends=backends) + more
        written = self.config.with_suffix(".new")
        written.write_text(text)
        written.rename(self.config)

    def start_edge(self):
        with open(self.log, "ab") as log:
            argv = [self.binary, "run", "--config", self.config]
            self.edge = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 15
        while True:
            try:
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            if self.edge.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the edge does not serve:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)

    def stop_edge(self):
        if self.edge and self.edge.poll() is None:
            os.killpg(self.edge.pid, signal.SIGKILL)
            self.edge.wait()

    def ask(self, method, path, port=None):
        """Status, fields and body of one request to the admin listener, or to another port."""
        connection = http.client.HTTPConnection(HOST, port or self.admin, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def live(self):
        return json.loads(self.ask("GET", "/live.json")[2])

    def client(self, number):
        """Some twenty requests a second, half of them for what is stored."""
        connection = None
        chance = random.Random(number)
        while not self.stopped.wait(chance.uniform(0.02, 0.06)):
            path = f"/assets/{chance.randrange(20)}.css" if chance.random() < 0.5 else f"/page/{chance.randrange(1000)}"
            try:
                connection = connection or http.client.HTTPConnection(HOST, self.port, timeout=10)
                connection.request("GET", path)
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                self.failures += 1
                connection = None


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
