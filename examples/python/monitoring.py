#!/usr/bin/env python3
"""Three gunicorns behind Hedgerow, a real Prometheus, and a fault: does everything an operator looks at name the culprit?

`make e2e` runs it after e2e.py. The rules are those of deploy/prometheus, with minutes turned into seconds.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

from processes import HERE, HOST, Site, free_ports, kill_group

RULES = HERE.parent.parent / "deploy" / "prometheus"
# For all of it; the longest honest run takes about half.
TIME_LIMIT = 240
BACKENDS = 4
PACE = 120  # requests a second


def app(environ, start_response):
    """What gunicorn runs: a page that takes as long as the file says that is named for its port."""
    slow = Path(os.environ["SLOW_FILE"])
    time.sleep(float(slow.read_text()) if slow.exists() else 0.004)
    body = b"page\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")])
    return [body]


def get(port, path):
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Backends:
    """Gunicorns whose pace is set by files."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.ports = free_ports(BACKENDS)
        self.processes = []

    def __enter__(self):
        for port in self.ports:
            environment = {**os.environ, "SLOW_FILE": str(self.file(port))}
            argv = [sys.executable, "-m", "gunicorn", "--config", os.devnull, "--threads", "4", "--keep-alive", "30"]
            argv += ["monitoring:app", "--bind", f"{HOST}:{port}"]
            log = self.directory / f"gunicorn-{port}.log"
            self.processes.append(Site.start(argv, out=log, err=log, cwd=HERE, env=environment))
        for port in self.ports:
            eventually(f"gunicorn on {port}", lambda port=port: answers(port, "/"), 20)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            kill_group(process)

    def file(self, port):
        return self.directory / f"slow-{port}"

    def slow_down(self, port, seconds):
        self.file(port).write_text(str(seconds))


def answers(port, path):
    try:
        return get(port, path)[0] == 200
    except OSError:
        return False


def eventually(what, condition, seconds):
    """The first true value of the condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise SystemExit(f"FAILED: {what}: not within {seconds} s")


def config(directory, port, admin, backends):
    log = Path(directory) / "access.log"
    text = f"""
[server]
listen = ["{HOST}:{port}"]
admin = "{HOST}:{admin}"
[access_log]
format = "json"
output = "{log}"
[[pool]]
name = "shop"
backends = [{", ".join(f'"{HOST}:{backend}"' for backend in backends)}]
[[route]]
name = "pages"
"""
    path = Path(directory) / "hedgerow.toml"
    path.write_text(text)
    return path, log


def prometheus(directory, admin):
    """A Prometheus on this edge, whose rules do not wait for minutes."""
    directory = Path(directory)
    port = free_ports(1)[0]
    for name in ["recording.yml", "alerts.yml"]:
        rules = (RULES / name).read_text()
        (directory / name).write_text(re.sub(r"for: \d+[ms]\w*", "for: 1s", rules))
    settings = (RULES / "prometheus.yml").read_text()
    settings = settings.replace(f"{HOST}:9090", f"{HOST}:{admin}").replace("interval: 5s", "interval: 1s")
    # Nobody is to be called.
    settings = re.sub(r"alerting:.*?\n\n", "", settings, flags=re.DOTALL)
    (directory / "prometheus.yml").write_text(settings)
    argv = ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/tsdb"]
    argv += [f"--web.listen-address={HOST}:{port}"]
    log = directory / "prometheus.log"
    return port, Site.start(argv, out=log, err=log)


def firing(port):
    alerts = json.loads(get(port, "/api/v1/alerts")[1])["data"]["alerts"]
    return {(alert["labels"]["alertname"], alert["labels"].get("backend")) for alert in alerts if alert["state"] == "firing"}


def query(port, text):
    answer = json.loads(get(port, "/api/v1/query?" + urllib.parse.urlencode({"query": text}))[1])
    return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]


class Load(threading.Thread):
    """Some clients that ask at a steady pace until told to stop."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.asked, self.failed, self.done = port, 0, 0, threading.Event()

    def run(self):
        workers = [threading.Thread(target=self.work, daemon=True) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def work(self):
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        while not self.done.wait(8 / PACE):
            try:
                connection.request("GET", "/page")
                answer = connection.getresponse()
                answer.read()
                self.failed += answer.status != 200
            except (OSError, http.client.HTTPException):
                connection.close()
                self.failed += 1
            self.asked += 1


def check(title, passed, detail=""):
    print(f"{'ok' if passed else 'FAILED'}: {title}{f' ({detail})' if detail else ''}", flush=True)
    if not passed:
        raise SystemExit(1)


def story(binary, directory):
    with Backends(directory) as backends:
        port, admin = free_ports(2)
        path, log = config(directory, port, admin, backends.ports)
        out = Path(directory) / "edge.log"
        edge = Site.start([binary, "run", "--config", path], out=out, err=out)
        watcher = None
        load = Load(port)
        try:
            eventually("the edge is ready", lambda: answers(admin, "/readyz"), 15)
            watching, watcher = prometheus(directory, admin)
            eventually("Prometheus is ready", lambda: answers(watching, "/-/ready"), 30)
            load.start()
            up = eventually("the edge is scraped", lambda: query(watching, 'hedgerow_requests_total{route="pages"} > 100'), 40)
            check("a real Prometheus scrapes the edge", bool(up), f"{up[0][1]:.0f} requests counted")
            names = {metric["__name__"] for metric, _ in query(watching, '{__name__=~"hedgerow_.+"}')}
            check("it has taken in the metrics", len(names) > 50, f"{len(names)} names")
            check("no alert is up while all is well", not firing(watching), str(firing(watching) or ""))

            culprit = f"{HOST}:{backends.ports[1]}"
            backends.slow_down(backends.ports[1], 0.6)
            began = time.monotonic()
            wanted = ("HedgerowBackendOnProbation", culprit)
            eventually(f"an alert names {culprit}", lambda: wanted in firing(watching), 110)
            check("the alert names the slow backend", True, f"{culprit} after {time.monotonic() - began:.0f} s")

            state = query(watching, f'hedgerow_backend_state{{backend="{culprit}", state="probation"}}')
            check("so does the metric", state[0][1] == 1)
            pools = json.loads(get(admin, "/pools")[1])
            shown = json.dumps(pools)
            check("/pools knows it", culprit in shown and "probation" in shown)
            slow = json.loads(get(admin, "/slow")[1])
            route = next(route for route in slow["routes"] if route["name"] == "pages")
            attempted = {attempt["backend"] for one in route["slowest"][:5] for attempt in one["attempts"]}
            check("/slow names it among the slowest requests", culprit in attempted, ", ".join(sorted(attempted)))
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            late = [line for line in lines if line["hedge"] or line["duration"] > 0.3]
            check("the access log has the requests that were copied or late", len(late) > 0, f"{len(late)} lines")
            won = query(watching, 'sum(hedgerow_hedges_total{result="won"})')
            cost = query(watching, 'max_over_time(hedgerow_amplification_ratio{pool="shop"}[1m])')
            check("what was done and what it cost can be read", bool(won and cost), f"{won[0][1]:.0f} copies won, at most {cost[0][1]:.3f} attempts for each request")

            backends.slow_down(backends.ports[1], 0.004)
            eventually("the alert goes away", lambda: wanted not in firing(watching), 90)
            check("the alert goes away when the backend is well", True)
            load.done.set()
            load.join(30)
            check("no request failed", load.failed == 0, f"{load.asked} asked")

            path.write_text(path.read_text() + "[nonsense]\n")
            edge.send_signal(signal.SIGHUP)
            eventually("a rejected reload is an alert", lambda: ("HedgerowReloadFailed", None) in firing(watching), 30)
            check("a rejected reload is an alert, and the edge serves on", answers(port, "/page"))
        except BaseException:
            for name in ["edge.log", "prometheus.log"]:
                tail = (Path(directory) / name).read_text(errors="replace").splitlines()[-15:]
                print(f"--- {name}\n" + "\n".join(tail), file=sys.stderr)
            raise
        finally:
            load.done.set()
            for process in [edge, watcher]:
                if process:
                    kill_group(process)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True, type=lambda path: str(Path(path).resolve()))
    binary = arguments.parse_args().binary
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        raise SystemExit("FAILED: prometheus and promtool are not installed")
    subprocess.run(["promtool", "check", "config", "prometheus.yml"], cwd=RULES, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["promtool", "test", "rules", "tests.yml"], cwd=RULES, check=True, stdout=subprocess.DEVNULL)
    check("promtool accepts the configuration, the rules and their tests", True)
    signal.alarm(TIME_LIMIT)
    with tempfile.TemporaryDirectory() as directory:
        story(binary, directory)
    print("monitoring: all passed")


if __name__ == "__main__":
    main()
