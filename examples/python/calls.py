#!/usr/bin/env python3
"""gRPC's own Python client and server with Hedgerow between them: calls of all four kinds, deadlines, cancels, a server that dies.

`make e2e` runs it after e2e.py. No code is generated: messages are bytes, which gRPC takes as they are.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from processes import HOST, Site, free_ports, kill_group

# For all of it; the longest honest run takes about a third.
TIME_LIMIT = 60
SERVICE = "shop.Stock"
MIB = 1024 * 1024

CONFIG = """
[server]
admin = "{host}:{admin}"

[[listener]]
address = "{host}:{port}"
protocols = ["h2"]

[[pool]]
name = "stock"
backends = ["{host}:{one}", "{host}:{other}"]
protocol = "h2"
health = {{ grpc = "{service}", interval = "200ms", timeout = "200ms", fall = 1, rise = 1 }}

[[route]]
pool = "stock"
timeout = "2s"

[route.grpc]
safe_methods = ["/{service}/Get"]
"""


class Stock(grpc.GenericRpcHandler):
    """What the server does; `Get` says which server it is."""

    def __init__(self, name):
        self.name = name.encode()
        self.cancelled = threading.Event()
        self.kinds = {
            "Get": grpc.unary_unary_rpc_method_handler(self.get),
            "Put": grpc.unary_unary_rpc_method_handler(self.get),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Sleep": grpc.unary_unary_rpc_method_handler(self.sleep),
            "List": grpc.unary_stream_rpc_method_handler(self.list),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch),
            "WasCancelled": grpc.unary_unary_rpc_method_handler(self.was_cancelled),
            "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "Echo": grpc.stream_stream_rpc_method_handler(self.echo),
        }

    def service(self, call):
        service, _, method = call.method.removeprefix("/").partition("/")
        return self.kinds.get(method) if service == SERVICE else None

    def get(self, request, context):
        context.set_trailing_metadata((("x-server", self.name.decode()),))
        return request + b" at " + self.name

    def fail(self, request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no such thing: 100 % ü")

    def sleep(self, request, context):
        left = context.time_remaining()
        time.sleep(float(request))
        return str(left).encode()

    def list(self, request, context):
        for number in range(int(request)):
            yield str(number).encode()

    def watch(self, request, context):
        context.add_callback(self.cancelled.set)
        yield b"watching"
        while context.is_active():
            time.sleep(0.02)

    def was_cancelled(self, request, context):
        return b"yes" if self.cancelled.wait(5) else b"no"

    def sum(self, requests, context):
        return str(sum(len(request) for request in requests)).encode()

    def echo(self, requests, context):
        yield from requests


def serve(name, port):
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((Stock(name),))
    checked = health.HealthServicer()
    checked.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checked, server)
    server.add_insecure_port(f"{HOST}:{port}")
    server.start()
    server.wait_for_termination()


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


class Client:
    """One channel to the edge."""

    def __init__(self, port):
        self.channel = grpc.insecure_channel(f"{HOST}:{port}", options=[("grpc.enable_http_proxy", 0)])

    def __getattr__(self, method):
        kinds = {"List": "unary_stream", "Watch": "unary_stream", "Sum": "stream_unary", "Echo": "stream_stream"}
        return getattr(self.channel, kinds.get(method, "unary_unary"))(f"/{SERVICE}/{method}")

    def code(self, method, request, **how):
        try:
            getattr(self, method)(request, **how)
        except grpc.RpcError as e:
            return e
        raise AssertionError(f"{method} was answered")


def eventually(what, condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, f"{what}: not within {seconds} s")
        time.sleep(0.05)


def checks(client, edge, backends):
    """Yields what was checked, line by line."""
    answer, call = client.Get.with_call(b"tea", timeout=5)
    expect(answer.startswith(b"tea at "), answer)
    expect(call.trailing_metadata()[0].key == "x-server", call.trailing_metadata())
    yield "a unary call is answered, and its trailing metadata comes"

    expect([int(n) for n in client.List(b"1000", timeout=10)] == list(range(1000)), "not in order")
    yield "a stream of a thousand answers comes in order"

    expect(client.Sum(iter([b"x" * 65536] * 64), timeout=10) == str(4 * MIB).encode(), "bytes are missing")
    yield "a stream of 4 MiB of requests arrives"

    ready, questions = threading.Event(), [b"1", b"2", b"3"]

    def slowly():
        for question in questions:
            yield question
            ready.wait(5)
            ready.clear()

    for question, answer in zip(questions, client.Echo(slowly(), timeout=10), strict=True):
        expect(question == answer, answer)
        ready.set()
    yield "questions and answers take turns on one stream"

    blob = os.urandom(65536)
    echoed = sum(len(part) for part in client.Echo(iter([blob] * 512), timeout=30))
    expect(echoed == 32 * MIB, f"{echoed} bytes came back")
    yield "32 MiB pass both ways at a time"

    failed = client.code("Fail", b"", timeout=5)
    expect((failed.code(), failed.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "no such thing: 100 % ü"), failed)
    yield "a status and its message pass unharmed"

    expect(client.code("Missing", b"", timeout=5).code() == grpc.StatusCode.UNIMPLEMENTED, "not unimplemented")
    yield "a method that nobody has is unimplemented"

    left = float(client.Sleep(b"0", timeout=1.5))
    expect(0 < left < 1.6, f"{left} s were left")
    begun = time.monotonic()
    expect(client.code("Sleep", b"5", timeout=0.3).code() == grpc.StatusCode.DEADLINE_EXCEEDED, "no deadline")
    expect(time.monotonic() - begun < 1.5, "the deadline was not kept")
    yield "a deadline is told to the server and kept"

    late = client.code("Sleep", b"4")
    expect(late.code() == grpc.StatusCode.DEADLINE_EXCEEDED and "in time" in late.details(), late)
    yield "the route's own time ends a call that has no deadline"

    watched = client.Watch(b"", timeout=20)
    expect(next(watched) == b"watching", "not watching")
    watched.cancel()
    told = [grpc.insecure_channel(f"{HOST}:{port}").unary_unary(f"/{SERVICE}/WasCancelled") for port in backends.ports]
    answers = [future.result() for future in [ask.future(b"", timeout=10) for ask in told]]
    expect(b"yes" in answers, "the server was not told")
    yield "a cancel reaches the server"

    watched = client.Watch(b"", timeout=20)
    expect(next(watched) == b"watching", "not watching")
    backends.kill(0)
    backends.kill(1)
    broken = None
    try:
        next(watched)
    except grpc.RpcError as e:
        broken = e
    expect(broken and broken.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL), str(broken))
    yield "a call whose server dies in its midst fails"

    eventually("both are down", lambda: client.code("Get", b"", timeout=5).code() == grpc.StatusCode.UNAVAILABLE)
    yield "where no server is left calls are unavailable"

    backends.start(0)

    def is_back():
        try:
            return client.Get(b"tea", timeout=5).endswith(b"one")
        except grpc.RpcError:
            return False

    eventually("one is back", is_back)
    for _ in range(50):
        expect(client.Put(b"tea", timeout=5).endswith(b"one"), "not asked of the one that is there")
    yield "a server that comes back is found by its health, and asked alone"

    statuses = {line["grpc_status"] for line in edge.log()}
    expect({"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNIMPLEMENTED"} <= statuses, statuses)
    yield "the access log names the statuses"


class Backends:
    """Two servers, each a process of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.ports = free_ports(2)
        self.processes = {}

    def __enter__(self):
        self.start(0)
        self.start(1)
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            kill_group(process)

    def start(self, which):
        log = self.directory / f"server-{which}.log"
        argv = [sys.executable, __file__, "--serve", ("one", "other")[which], str(self.ports[which])]
        self.processes[which] = Site.start(argv, out=log, err=log)
        grpc.channel_ready_future(grpc.insecure_channel(f"{HOST}:{self.ports[which]}")).result(timeout=15)

    def kill(self, which):
        kill_group(self.processes.pop(which))


class Edge:
    """Hedgerow in front of them."""

    def __init__(self, binary, directory, ports):
        self.port, self.admin = free_ports(2)
        self.access_log, self.error_log = directory / "access.log", directory / "edge.log"
        config = directory / "calls.toml"
        one, other = ports
        config.write_text(CONFIG.format(host=HOST, port=self.port, admin=self.admin, one=one, other=other, service=SERVICE))
        self.argv = [binary, "run", "--config", config]

    def __enter__(self):
        self.process = Site.start(self.argv, out=self.access_log, err=self.error_log)
        return self

    def __exit__(self, *_):
        kill_group(self.process)

    def log(self):
        return [json.loads(line) for line in self.access_log.read_text().splitlines() if line.startswith("{")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", help="the hedgerow to check")
    parser.add_argument("--serve", nargs=2, metavar=("NAME", "PORT"), help="be a server")
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve[0], int(arguments.serve[1]))
    signal.alarm(TIME_LIMIT)
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        with Backends(directory) as backends, Edge(arguments.binary, directory, backends.ports) as edge:
            client = Client(edge.port)
            grpc.channel_ready_future(client.channel).result(timeout=15)
            count = 0
            try:
                for line in checks(client, edge, backends):
                    count += 1
                    print(f"ok   {line}", flush=True)
            except (AssertionError, grpc.RpcError, grpc.FutureTimeoutError) as e:
                print(f"FAIL after {count}: {e}\n{edge.error_log.read_text()[-2000:]}", flush=True)
                return 1
    print(f"{count} checks of gRPC passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
