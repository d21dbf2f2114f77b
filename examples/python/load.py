"""A steady load: requests leave at their time whether or not earlier ones have come back (open loop).

A loop that waits for each answer before it sends the next would ask less of a proxy exactly while the proxy is slow,
and so would not see it. For the same reason latency counts from when a request was due, not from when it was sent.
"""

import http.client
import threading
import time

from processes import HOST


class Load:
    """`rate` GETs a second for `seconds`; use as a context, then read what came of it."""

    def __init__(self, port, rate, seconds, request, workers=64):
        """`request(n)` gives the n-th request's path and a piece of text its body must hold."""
        self.port, self.rate, self.request = port, rate, request
        self.total = int(rate * seconds)
        self.next = 0
        self.lock = threading.Lock()
        self.latencies = []
        self.failures = []
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(workers)]

    def __enter__(self):
        self.start = time.monotonic() + 0.1
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            for thread in self.threads:
                thread.join(timeout=60)

    def work(self):
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        while True:
            with self.lock:
                number = self.next
                self.next += 1
            if number >= self.total:
                return connection.close()
            due = self.start + number / self.rate
            time.sleep(max(0, due - time.monotonic()))
            path, text = self.request(number)
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                body = response.read()
                problem = None if response.status == 200 and text.encode() in body else f"status {response.status}"
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                problem = f"{type(error).__name__}: {error}"
            took = time.monotonic() - due
            with self.lock:
                self.latencies.append(took)
                if problem:
                    self.failures.append(f"at {due - self.start:.2f} s {path}: {problem}")

    def summary(self):
        ordered = sorted(self.latencies)
        p50, p99 = (ordered[int(len(ordered) * q)] * 1000 for q in (0.50, 0.99))
        return f"{len(ordered)} GETs, {len(self.failures)} failed, p50 {p50:.0f} ms, p99 {p99:.0f} ms"

    def problem(self):
        """What went wrong, or `None`."""
        if len(self.latencies) < self.total:
            return f"only {len(self.latencies)} of {self.total} requests came to an end"
        if self.failures:
            return f"{self.summary()}; first: {self.failures[0]}"
        return None
