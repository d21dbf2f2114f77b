"""A small shop, as Hedgerow meets them: some pages may be cached, some must not, one call is sometimes slow.

It has no dependency but Flask and no state but the file of orders, so that any number of its processes may serve the
same site. What each page says in `Cache-Control` is the whole of its contract with the cache in front of it.
"""

import hashlib
import json
import math
import os
import random
import secrets
import time
from datetime import datetime, timezone

from flask import Flask, Response, abort, redirect, request, session

app = Flask(__name__)
# Every process must sign sessions alike. A real site takes the key from its secret store and has no default.
app.secret_key = os.environ.get("SHOP_SECRET", "the shop's example key")
app.config.update(SESSION_COOKIE_HTTPONLY=True, SESSION_COOKIE_SAMESITE="Lax")

# One line per order. Appends this short are not torn apart by other processes.
ORDERS = os.environ.get("SHOP_ORDERS", "orders.log")
# Lets the end-to-end test crash a worker on purpose.
FAULTS = os.environ.get("SHOP_FAULTS") == "1"

STARTED = datetime(2025, 1, 1, tzinfo=timezone.utc)
YEAR = 365 * 24 * 3600
PRODUCTS = 1000


def noise(name, size):
    """`size` bytes that look like a compressed image and are the same in every process."""
    return random.Random(name).randbytes(size)


def css(size):
    """A style sheet of exactly `size` bytes."""
    rules = "".join(f".c{i} {{ margin: {i % 7}px }}\n" for i in range(size // 16))
    return rules[: size - 1].encode() + b"\n"


ASSETS = {
    "dot.gif": ("image/gif", noise("dot.gif", 43)),
    "shop.css": ("text/css; charset=utf-8", css(1024)),
    "shop.js": ("text/javascript; charset=utf-8", b"// shop\n" * 2048),
    "hero.jpg": ("image/jpeg", noise("hero.jpg", 200 * 1024)),
    "poster.jpg": ("image/jpeg", noise("poster.jpg", 2 * 1024 * 1024)),
}


def etag(body):
    return hashlib.sha256(body).hexdigest()[:20]


def page(title, *paragraphs):
    """An HTML page that may be cached for a minute and revalidated by its ETag."""
    head = f'<!doctype html>\n<title>{title}</title>\n<link rel="stylesheet" href="/assets/shop.css">\n'
    body = head + f"<h1>{title}</h1>\n" + "".join(f"<p>{p}</p>\n" for p in paragraphs)
    response = Response(body, mimetype="text/html")
    response.headers["Cache-Control"] = "public, max-age=60, stale-while-revalidate=30"
    response.set_etag(etag(body.encode()))
    return response.make_conditional(request)


def uncached(data, status=200):
    response = Response(json.dumps(data) + "\n", status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


@app.after_request
def say_who_answered(response):
    response.headers["X-Served-By"] = f"{request.environ['SERVER_PORT']}/{os.getpid()}"
    response.headers["X-Rendered-At"] = str(time.time_ns())
    return response


@app.get("/")
def front():
    links = (f'<a href="/products/{n}">Product {n}</a>' for n in range(1, 11))
    return page("The shop", "Everything for the garden.", *links, '<img src="/assets/hero.jpg" alt="A hedgerow">')


@app.get("/products/<int:number>")
def product(number):
    if not 1 <= number <= PRODUCTS:
        abort(404)
    time.sleep(0.05)  # the database
    return page(f"Product {number}", f"It costs {price(number)}.", '<a href="/">All products</a>')


@app.get("/assets/<name>")
def asset(name):
    if name not in ASSETS:
        abort(404)
    mimetype, body = ASSETS[name]
    response = Response(body, content_type=mimetype)
    response.headers["Cache-Control"] = f"public, max-age={YEAR}, immutable"
    response.last_modified = STARTED
    response.set_etag(etag(body))
    return response.make_conditional(request, accept_ranges=True, complete_length=len(body))


def price(number):
    return f"{number * 37 % 900 + 99 / 100:.2f}"


@app.get("/api/price/<int:number>")
def api_price(number):
    """Median 10 ms, 95th percentile about 23 ms, and one call in a hundred meets a lock and waits 300 ms more."""
    time.sleep(random.lognormvariate(math.log(0.010), 0.5))
    if random.random() < 0.01:
        time.sleep(0.3)
    return uncached({"product": number, "price": price(number)})


@app.get("/api/echo")
def api_echo():
    """The request's headers as they arrived here, to see what a proxy made of them."""
    return uncached({"headers": [[k, v] for k, v in request.headers.items()]})


@app.route("/login", methods=["GET", "POST"])
def login():
    if request.method == "GET":
        return page("Log in", '<form method="post"><input name="user"><button>Log in</button></form>')
    user = request.form.get("user", "")
    if not user:
        abort(400)
    session["user"] = user
    response = redirect("/me", 303)
    response.headers["Cache-Control"] = "no-store"
    return response


@app.get("/me")
def me():
    """Who you are: for nobody else, and marked so."""
    if "user" not in session:
        abort(401)
    response = Response(f"You are {session['user']}.\n", mimetype="text/plain")
    response.headers["Cache-Control"] = "private, max-age=60"
    return response


@app.get("/welcome")
def welcome():
    """A mistake many sites make: it says `public` and sets a cookie for this visitor alone."""
    response = Response("Welcome.\n", mimetype="text/plain")
    response.headers["Cache-Control"] = "public, max-age=60"
    response.set_cookie("visitor", secrets.token_hex(16), httponly=True)
    return response


def note_order(order):
    with open(ORDERS, "a", encoding="ascii") as orders:
        orders.write(json.dumps(order) + "\n")


@app.post("/orders")
def order():
    note_order(str(request.get_json()["id"])[:100])
    return uncached({"accepted": True}, 201)


@app.route("/upload", methods=["POST", "PUT"])
def upload():
    """Reads what comes without keeping it, and says what it was."""
    length, digest = 0, hashlib.sha256()
    while piece := request.stream.read(64 * 1024):
        length += len(piece)
        digest.update(piece)
    return uncached({"length": length, "sha256": digest.hexdigest()})


@app.get("/report")
def report():
    """A download made while it is sent: each line carries the time at which it was made."""
    chunks = min(request.args.get("chunks", 10, int), 1000)
    pause = min(request.args.get("pause", 0.2, float), 10.0)

    def lines():
        for number in range(1, chunks + 1):
            if number > 1:
                time.sleep(pause)
            yield f"line {number} of {chunks} at {time.time():.6f}\n"

    return Response(lines(), mimetype="text/plain", headers={"Cache-Control": "no-store"})


@app.get("/healthz")
def healthz():
    return uncached({"ok": True})


if FAULTS:

    @app.post("/faults/die")
    def die():
        """Takes the order, then dies before it can say so: the case in which a proxy must not try again."""
        note_order(str(request.get_json()["id"])[:100])
        os._exit(1)
