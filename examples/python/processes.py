"""The parties of the end-to-end test: two gunicorns, the edge, and a directory for what they write."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"


class Site:
    """Everything that runs. Leaving it ends every process it started, whatever happened."""

    def __init__(self, binary, directory):
        self.binary = binary
        self.directory = Path(directory)
        self.config = self.directory / "hedgerow.toml"
        self.orders = self.directory / "orders.log"
        self.access_log = self.directory / "access.log"
        self.edge_log = self.directory / "edge.log"
        self.port, self.admin, *self.shops = free_ports(4)
        self.gunicorns = {}
        self.edge = None

    def __enter__(self):
        try:
            self.write_config()
            for port in self.shops:
                self.start_gunicorn(port)
            self.edge = self.start(
                [self.binary, "run", "--config", self.config], out=self.access_log, err=self.edge_log
            )
            self.wait(self.admin, "/readyz", self.edge, 15)
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for process in [self.edge, *self.gunicorns.values()]:
            if process:
                kill_group(process)

    def write_config(self, changes=None):
        """The example's own config on this run's ports, with `changes` from one text to another."""
        text = (HERE / "hedgerow.toml").read_text()
        ports = {8080: self.port, 9090: self.admin, 8001: self.shops[0], 8002: self.shops[1]}
        swaps = {f'"{HOST}:{old}"': f'"{HOST}:{new}"' for old, new in ports.items()}
        for old, new in {**swaps, **(changes or {})}.items():
            if text.count(old) != 1:
                raise RuntimeError(f"hedgerow.toml holds {old} {text.count(old)} times, expected once")
            text = text.replace(old, new)
        # Renamed into place, so that nobody reads half of it.
        written = self.config.with_suffix(".new")
        written.write_text(text)
        written.rename(self.config)

    def start_gunicorn(self, port):
        environment = {**os.environ, "SHOP_ORDERS": str(self.orders), "SHOP_FAULTS": "1"}
        argv = [sys.executable, "-m", "gunicorn", "shop:app", "--bind", f"{HOST}:{port}"]
        log = self.directory / f"gunicorn-{port}.log"
        self.gunicorns[port] = self.start(argv, out=log, err=log, cwd=HERE, env=environment)
        self.wait(port, "/healthz", self.gunicorns[port], 15)

    def kill_gunicorn(self, port):
        """SIGKILL for the master and its workers: nothing is finished, nothing is said."""
        kill_group(self.gunicorns[port])

    @staticmethod
    def start(argv, out, err, **how):
        with open(out, "ab") as stdout, open(err, "ab") as stderr:
            # A session of its own, so that its children can be ended with it and Ctrl-C reaches only this program.
            return subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True, **how
            )

    def wait(self, port, path, process, seconds):
        """Until `path` answers 200."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args[0]} ended with code {process.returncode}\n{self.tails()}")
            try:
                connection = http.client.HTTPConnection(HOST, port, timeout=2)
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"port {port} did not answer 200 to {path} within {seconds} s\n{self.tails()}")

    def tails(self, lines=15):
        """The end of every log but the access log."""
        logs = sorted(set(self.directory.glob("*.log")) - {self.access_log, self.orders})
        ends = (f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) for log in logs)
        return "\n".join(ends)


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


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
