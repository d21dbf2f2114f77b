"""A headless Chromium, driven through its DevTools protocol over two pipes: nothing beside Python is needed."""

import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]


# The protocol is spoken on the descriptors 3 and 4.
ONTO_3_AND_4 = """
import os, sys
for place, pipe in enumerate(map(int, sys.argv[1:3]), 3):
    os.dup2(pipe, place)
    os.set_inheritable(pipe, False)
os.execv(sys.argv[3], sys.argv[3:])
"""


def high(pipe):
    """The same pipe on descriptors that are in nobody's way."""
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in pipe]
    for end in pipe:
        os.close(end)
    return moved


def find():
    """The path of a Chromium, or None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One browser with one page, started with these flags besides its usual ones. Leaving it ends it."""

    def __init__(self, program, flags=()):
        self.profile = tempfile.TemporaryDirectory(prefix="hedgerow-page-")
        to_browser, self.out = high(os.pipe())
        self.back, from_browser = high(os.pipe())
        flags = [
            *flags,
            "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--no-proxy-server",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu",
            "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb", f"--user-data-dir={self.profile.name}",
        ]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # which root has no use for, and a container no right to
        self.process = subprocess.Popen(
            [sys.executable, "-c", ONTO_3_AND_4, str(to_browser), str(from_browser), program, *flags, "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(to_browser, from_browser), start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.last = 0
        self.session = None
        self.answers = {}
        self.arrived = threading.Condition()
        self.errors = []
        self.requests = []
        self.gone = False
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        try:
            target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
            attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            self.session = attached["sessionId"]
            for domain in ["Page", "Runtime", "Log", "Network"]:
                self.call(f"{domain}.enable")
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        for attempt in range(20):
            try:
                self.profile.cleanup()
                return
            except OSError:  # its children may still be writing
                time.sleep(0.1)

    def _read(self):
        rest = b""
        while True:
            try:
                got = os.read(self.back, 1 << 16)
            except OSError:
                got = b""
            if not got:
                break
            *messages, rest = (rest + got).split(b"\0")
            for message in messages:
                self._take(json.loads(message))
        with self.arrived:
            self.gone = True
            self.arrived.notify_all()

    def _take(self, message):
        if "id" in message:
            with self.arrived:
                self.answers[message["id"]] = message
                self.arrived.notify_all()
            return
        told = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                details = told["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description") or details["text"])
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.errors.append(" ".join(str(arg.get("value", arg.get("description"))) for arg in told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.errors.append(f'{told["entry"]["text"]} {told["entry"].get("url", "")}')
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])

    def call(self, method, **params):
        """What a method of the protocol answers."""
        self.last += 1
        number = self.last
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        text = json.dumps(message).encode() + b"\0"
        while text:
            text = text[os.write(self.out, text):]
        with self.arrived:
            if not self.arrived.wait_for(lambda: number in self.answers or self.gone, timeout=30):
                raise TimeoutError(f"the browser does not answer {method}")
            if number not in self.answers:
                raise RuntimeError("the browser has ended")
            answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f'{method}: {answer["error"]["message"]}')
        return answer["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)

    def value(self, expression):
        """What a JavaScript expression gives, waited for if it is a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f'{expression}: {answer["exceptionDetails"]}')
        return answer["result"].get("value")

    def until(self, what, expression, seconds=20):
        """Waits until an expression is true; gives it."""
        end = time.monotonic() + seconds
        while True:
            try:
                value = self.value(expression)
            except RuntimeError as error:  # between two documents
                value, said = None, error
            else:
                said = value
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {what} ({said!r})")
            time.sleep(0.1)

    def size(self, width, height, scale=1, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile)

    def scheme(self, name):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def screenshot(self, path):
        picture = self.call("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        with open(path, "wb") as file:
            file.write(base64.b64decode(picture["data"]))
