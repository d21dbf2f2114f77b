#!/usr/bin/env python3
"""The live page in a headless Chromium, and `hedgerow top` beside it: `make page` builds what is needed and runs it.

A backend is slowed, as an operator would see it. One line per check, in order; the last line counts them.
"""

import argparse
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time

from browser import Browser, find
from site_under_test import HOST, Site

CHECKS = []
SLOW = 0.3


def check(title):
    def add(function):
        CHECKS.append((title, function))
        return function

    return add


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


class Run:
    def __init__(self, site, browser, binary, pictures):
        self.site, self.browser, self.binary, self.pictures = site, browser, binary, pictures
        self.url = f"http://{HOST}:{site.admin}/"
        self.slow = site.backends[1]

    def picture(self, name, scheme, after=0):
        """For the documents, where pictures are wanted: once there is something to see."""
        if not self.pictures:
            return
        time.sleep(after)
        self.browser.scheme(scheme)
        self.browser.size(1200, 1330)
        time.sleep(1.5)
        self.browser.screenshot(os.path.join(self.pictures, f"{name}.png"))
        self.browser.scheme("light")
        self.browser.size(1440, 1500)

    def top(self, *arguments):
        argv = [self.binary, "top", "--admin", f"{HOST}:{self.site.admin}", *arguments]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)


@check("the page loads, and nothing is said on the console")
def loads(run):
    run.browser.size(1440, 1500)
    run.browser.scheme("light")
    run.browser.open(run.url)
    run.browser.until("the page is live", "document.body?.dataset.link === 'live'")
    expect(run.browser.errors == [], run.browser.errors)
    return run.browser.value("document.title")


@check("it asks nobody but the edge, and its policy would not let it")
def asks_nobody_else(run):
    # Frames of the stream are no requests; a picture from elsewhere would be.
    foreign = [url for url in run.browser.requests if not url.startswith((run.url, "about:", "data:"))]
    expect(foreign == [], foreign)
    policy = run.site.ask("GET", "/live")[1]["Content-Security-Policy"]
    expect("default-src 'none'" in policy and "unsafe" not in policy, policy)
    wrong = run.browser.value("document.querySelectorAll('script:not([src]), style, [style*=\"url\"], [onclick]').length")
    expect(wrong == 0, f"{wrong} scripts or styles in the page itself")
    return f"{len(run.browser.requests)} requests"


@check("every chart draws, with axes and a legend with values")
def charts_draw(run):
    # A line needs two points, and the distributions answers.
    drawn = """[...document.querySelectorAll('.chart')].map(chart => ({
        name: chart.id, ticks: chart.querySelectorAll('svg text').length,
        paths: [...chart.querySelectorAll('svg path[data-key]')].filter(path => path.getTotalLength() > 20).length,
        values: [...chart.querySelectorAll('.legend b')].filter(value => /\\d/.test(value.textContent)).length,
    }))"""
    least = {"chart-requests": 2, "chart-latency": 4, "chart-backends": 3, "chart-extra": 6}
    end = time.monotonic() + 25
    while True:
        charts = {chart["name"]: chart for chart in run.browser.value(drawn)}
        thin = [name for name, paths in least.items() if charts[name]["paths"] < paths or charts[name]["values"] < paths]
        if not thin:
            break
        expect(time.monotonic() < end, f"{thin}: {charts}")
        time.sleep(0.3)
    expect(all(chart["ticks"] >= 6 for chart in charts.values()), charts)
    return ", ".join(f'{name}: {chart["paths"]}' for name, chart in charts.items())


@check("the numbers are those of the edge")
def numbers(run):
    run.browser.until("three backends take their share", """
        [...document.querySelectorAll('.backends tbody tr')].filter(row => /\\d/.test(row.children[3].textContent)).length === 3""")
    shown = run.browser.value("[...document.querySelectorAll('.backends tbody tr')].map(row => row.children[0].textContent)")
    expect(shown == [backend.address for backend in run.site.backends], shown)
    rate = float(run.browser.value("document.getElementById('tile-requests').textContent").split()[0])
    told = run.site.live()["traffic"]["requests_per_second"]
    expect(abs(rate - told) < 0.3 * told, f"{rate} shown, {told} told")
    return f"{rate:.0f} requests/s"


@check("values can be read under the pointer and with the keyboard")
def cursor(run):
    run.browser.value("document.querySelector('#chart-requests svg').scrollIntoView({block: 'center'})")
    box = run.browser.value("(({x, y, width, height}) => ({x, y, width, height}))(document.querySelector('#chart-requests svg').getBoundingClientRect())")
    at = {"x": box["x"] + box["width"] - 14, "y": box["y"] + box["height"] / 2}
    run.browser.call("Input.dispatchMouseEvent", type="mouseMoved", **at)
    moment = run.browser.until("a time under the pointer", "document.querySelector('#chart-requests .at').textContent.match(/\\d\\d:\\d\\d:\\d\\d/)?.[0]")
    run.browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=5, y=5)
    run.browser.until("no time without a pointer", "document.querySelector('#chart-requests .at').textContent === 'now'")
    run.browser.value("document.querySelector('#chart-extra svg').focus()")
    for kind in ["rawKeyDown", "keyUp"]:
        run.browser.call("Input.dispatchKeyEvent", type=kind, key="ArrowLeft", code="ArrowLeft", windowsVirtualKeyCode=37)
    run.browser.until("a time at the cursor", "/\\d\\d:\\d\\d/.test(document.querySelector('#chart-extra .at').textContent)")
    run.browser.value("document.activeElement.blur(); scrollTo(0, 0)")
    return moment


@check("dark and light differ, and both can be read")
def schemes(run):
    def contrasts():
        """The least contrast between a text and what is behind it (WCAG 2.2)."""
        return run.browser.value("""(() => {
            const parse = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
            const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
                .reduce((sum, c, at) => sum + c * [.2126, .7152, .0722][at], 0);
            const behind = (node) => { for (; node; node = node.parentElement) {
                const color = getComputedStyle(node).backgroundColor;
                const [r, g, b, a = 1] = parse(color);
                if (color.startsWith('rgb') && a === 1) return [r, g, b]; } return [255, 255, 255]; };
            let least = 99, where = '';
            for (const node of document.querySelectorAll('h1, h2, small, dt, dd, b, td, th, .pill, .why, time, .legend span')) {
                if (!node.textContent.trim() || !node.offsetParent) continue;
                const pair = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
                const contrast = (pair[0] + .05) / (pair[1] + .05);
                if (contrast < least) [least, where] = [contrast, `${node.className || node.tagName} ${node.textContent}`];
            }
            return { least, where, page: getComputedStyle(document.body).backgroundColor };
        })()""")

    seen = {}
    for scheme in ["dark", "light"]:
        run.browser.scheme(scheme)
        seen[scheme] = contrasts()
        expect(seen[scheme]["least"] >= 4.5, f"{scheme}: {seen[scheme]}")
    expect(seen["dark"]["page"] != seen["light"]["page"], seen)
    return ", ".join(f'{scheme} {told["least"]:.1f}' for scheme, told in seen.items())


@check("it fits on a phone")
def phone(run):
    run.browser.size(390, 844, scale=2, mobile=True)
    run.browser.until("no sideways scrolling", "document.documentElement.scrollWidth <= 390", seconds=5)
    too_wide = run.browser.value("""[...document.querySelectorAll('main > *, .panel, .tile')]
        .filter(node => node.getBoundingClientRect().right > 391).map(node => node.id || node.className)""")
    expect(too_wide == [], too_wide)
    run.browser.size(1440, 1500)


@check("a calm page has no backend marked, and looks its best")
def calm(run):
    marked = run.browser.value("document.querySelectorAll('.backends tr.bad, .backends tr.warn').length")
    expect(marked == 0, f"{marked} marked")
    expect("none" in run.browser.value("document.getElementById('incident-count').textContent"), "a trouble is shown")
    run.picture("live-light", "light", after=40)
    return None


@check("a slowed backend is marked, with since when, what was done and what it cost")
def degraded(run):
    run.slow.slow = SLOW
    row = f"[...document.querySelectorAll('.backends tbody tr')].find(row => row.children[0].textContent === '{run.slow.address}')"
    run.browser.until("its row is marked", f"{row}.dataset.trouble === 'probation' && {row}.classList.contains('bad')", seconds=40)
    # Not by colour alone.
    state = run.browser.value(f"{row}.children[1].textContent")
    expect(state == "probation", state)
    others = run.browser.value("document.querySelectorAll('.backends tr.bad').length")
    expect(others == 1, f"{others} are marked")
    story = run.browser.until("its story is told", """
        (story => story && /copied to others/.test(story.textContent) && story.textContent)(document.querySelector('#incidents .story.open'))""")
    for part in [run.slow.address, "since ", "slower than its peers", "its p99 is", "did", "of the pool's requests", "cost", "more attempts", "no request shed"]:
        expect(part in story, f"{part!r} is not in {story!r}")
    expect(re.search(r"since \d\d:\d\d:\d\d, for \d+ s", story), story)
    run.browser.until("it is in the list of what happened", f"""
        [...document.querySelectorAll('.event.worse')].some(event => event.textContent.includes('{run.slow.address} probation'))""")
    expect(run.browser.value("document.title").startswith("(1)"), "the title does not say so")
    return story


@check("top says the same in a terminal")
def top_once(run):
    told = run.top("--once")
    expect(told.returncode == 0 and told.stderr == "", told)
    for part in [f"✕ {run.slow.address} probation  pool web, since ", "did ", "cost ", "late requests copied to others", "POOL web", "✕ probation", "slower-than-peers"]:
        expect(part in told.stdout, f"{part!r} is not in\n{told.stdout}")
    expect("\x1b" not in told.stdout, "colours where there is no terminal")
    run.picture("live-degraded-light", "light", after=15)
    run.picture("live-degraded-dark", "dark")
    return next(line for line in told.stdout.splitlines() if line.startswith("✕"))


@check("top draws on a terminal, sorts, and leaves it as it was")
def top_interactive(run):
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(TERM="xterm-256color")
        os.execv(run.binary, [run.binary, "top", "--admin", f"{HOST}:{run.site.admin}"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    seen = b""

    def until(part, seconds=10):
        nonlocal seen
        end = time.monotonic() + seconds
        while part not in seen:
            expect(time.monotonic() < end, f"{part!r} is not in {seen[-2000:]!r}")
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    seen += os.read(terminal, 1 << 16)
                except OSError:
                    break
        expect(part in seen, f"{part!r} is not in {seen[-2000:]!r}")

    until(b"\x1b[?1049h")
    until(run.slow.address.encode())
    os.write(terminal, b"s")
    until(b"sort: trouble")
    os.write(terminal, b"p")
    until(b"paused")
    os.write(terminal, b"q")
    until(b"\x1b[?1049l")
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    expect(os.waitstatus_to_exitcode(status) == 0, status)


@check("slow requests are shown with what they waited for")
def slow_request(run):
    run.site.ask("GET", "/held/%3Cimg%20src=x%3E", port=run.site.port)
    row = "[...document.querySelectorAll('#slowest tbody tr')].find(row => row.textContent.includes('/held/%3Cimg'))"
    run.browser.until("it is shown", f"{row} !== undefined")
    waited = run.browser.value(f"{row}.lastChild.textContent")
    expect(waited.startswith("first-byte 2"), waited)
    return waited


@check("a rejected reload is shown with its error, as text, until one is applied")
def reload_error(run):
    hostile = "<img src=x onerror=alert(1)>"
    run.site.write_config(f'\n[[route]]\npool = "{hostile}"\n')
    expect(run.site.ask("POST", "/reload")[0] == 422, "the broken configuration was taken")
    lines = "document.getElementById('reload-lines')"
    run.browser.until("the error is shown", f"!document.getElementById('reload-errors').hidden && {lines}.textContent.includes('{hostile}')")
    expect(run.browser.value("document.querySelectorAll('main img').length") == 0, "it became an element")
    expect(hostile in run.top("--once").stdout, "top does not say so")
    run.site.write_config()
    expect(run.site.ask("POST", "/reload")[0] == 200, "the good configuration was refused")
    run.browser.until("the error is gone", "document.getElementById('reload-errors').hidden")
    return run.browser.value("document.getElementById('generation').textContent")


@check("a backend that has recovered is unmarked, and its story is over")
def recovered(run):
    run.slow.slow = 0.0
    run.browser.until("nothing is marked", "document.querySelectorAll('.backends tr.bad, .backends tr.warn').length === 0", seconds=60)
    told = run.browser.until("the story has ended", "document.querySelector('#incidents .pill.over') && document.querySelector('#incidents .story').textContent", seconds=15)
    expect("lasted" in told, told)
    return told


@check("rows are rewritten in place, and nothing was said on the console all the time")
def quiet(run):
    run.browser.value("window.kept = document.querySelector('.backends tbody tr')")
    time.sleep(2.5)
    expect(run.browser.value("window.kept.isConnected"), "rows are made anew")
    expect(run.browser.errors == [], run.browser.errors)


@check("an edge that has gone is told, and one that is back is shown by itself")
def comes_back(run):
    run.site.stop_edge()
    run.browser.until("it is out of date", "document.body.dataset.link === 'late' && document.getElementById('link').textContent.includes('out of date')")
    gone = run.top("--once")
    expect(gone.returncode == 1 and "hedgerow:" in gone.stderr, gone)
    run.site.start_edge()
    run.browser.until("it is live again", "document.body.dataset.link === 'live'", seconds=30)
    fresh = run.browser.until("it is the new one", "document.getElementById('uptime').textContent.match(/^\\d+ s$/)?.[0]", seconds=10)
    return f"up {fresh}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--pictures", metavar="FOLDER", help="where to put screenshots")
    options = arguments.parse_args()
    program = find()
    if not program:
        if os.environ.get("CI"):
            sys.exit("page: there is no Chromium")
        print("page: NOT CHECKED: there is no Chromium here; install it, or say where it is in $CHROMIUM", file=sys.stderr)
        return 0
    failed = 0
    if options.pictures:
        os.makedirs(options.pictures, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Site(os.path.abspath(options.binary), folder) as site, Browser(program) as browser:
        run = Run(site, browser, os.path.abspath(options.binary), options.pictures)
        for title, function in CHECKS:
            began = time.monotonic()
            try:
                detail = function(run)
                result = f"ok    {title}"
            except Exception as error:
                failed += 1
                detail, result = f"{type(error).__name__}: {error}", f"FAIL  {title}"
            print(f"{result} ({time.monotonic() - began:.1f} s){f': {detail}' if detail else ''}", flush=True)
        if failed:
            print(site.log.read_text(errors="replace")[-2000:])
            print(json.dumps(browser.errors, indent=1))
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
