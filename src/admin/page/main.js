// The live page: asks for the last ten minutes once, then takes a picture a second from the stream.

import { Chart, spanOf } from "./chart.js";
import * as tables from "./tables.js";
import { NONE, amount, bytes, clock, duration, millis, percent, put } from "./text.js";

const KEPT = 600;
const QUANTILES = ["p50", "p90", "p99", "p999"];
const LABELS = { p50: "p50", p90: "p90", p99: "p99", p999: "p99.9" };
const CACHE = ["hit", "revalidated", "updating", "stale", "expired", "miss", "bypass", "none"];
const EXTRA = [
  ["hedges", "copies", "--s0"], ["hedges_won", "copies that won", "--s2"], ["probes", "probes", "--s3"],
  ["retries", "retries", "--s6"], ["shed", "shed", "--s1"], ["errors", "5xx", "--s4"],
];
// Without a picture for so long, what is shown is out of date.
const LATE = 3500;
const AGAIN = [1000, 2000, 4000, 8000];

const by = (id) => document.getElementById(id);

const past = { times: [], cache: {}, extra: {}, routes: new Map(), backends: new Map() };
let frame = null;
let heard = 0;
let source = null;
let tries = 0;
let turns = 0;
let retry = null;
let lost = "";

const charts = {
  requests: new Chart(by("chart-requests"), { stacked: true }),
  latency: new Chart(by("chart-latency"), { log: true, format: millis }),
  backends: new Chart(by("chart-backends"), { log: true, format: millis }),
  extra: new Chart(by("chart-extra"), {}),
};

// What the charts span, in seconds.
const span = () => spanOf(past.times) / 1000;

const backendKey = (pool, address) => `${pool} ${address}`;

// Adds a value at the end; those that began later are filled up in front.
function push(column, value) {
  while (column.length < past.times.length - 1) column.unshift(null);
  column.push(value);
  if (column.length > KEPT) column.splice(0, column.length - KEPT);
}

function padded(column) {
  return new Array(Math.max(0, past.times.length - column.length)).fill(null).concat(column);
}

async function remember() {
  const answer = await fetch("/live/history", { cache: "no-store" });
  if (!answer.ok) throw new Error(`the history could not be had: ${answer.status}`);
  const told = await answer.json();
  past.times = told.time_ms;
  for (const result of CACHE) past.cache[result] = told.cache[result];
  for (const [name] of EXTRA) past.extra[name] = told[name];
  past.routes = new Map(told.routes.map((route) => [route.name, {
    with: Object.fromEntries(QUANTILES.map((q) => [q, padded(route.with[q])])),
    without: Object.fromEntries(QUANTILES.map((q) => [q, padded(route.without[q])])),
  }]));
  past.backends = new Map(told.backends.map((one) => [
    backendKey(one.pool, one.address), { p99: padded(one.p99_ms), states: padded(one.states) },
  ]));
}

// Takes the newest second into the past, unless it is there.
function extend() {
  const second = frame.second;
  if (!second || second.time_ms <= (past.times[past.times.length - 1] ?? 0)) return;
  past.times.push(second.time_ms);
  if (past.times.length > KEPT) past.times.shift();
  for (const result of CACHE) push((past.cache[result] ??= []), second.cache[result]);
  for (const [name] of EXTRA) push((past.extra[name] ??= []), second[name]);
  const none = () => Object.fromEntries(QUANTILES.map((q) => [q, []]));
  for (const route of frame.routes) {
    const had = past.routes.get(route.name) ?? { with: none(), without: none() };
    past.routes.set(route.name, had);
    for (const q of QUANTILES) {
      const [is, without] = [route.first_byte_ms, route.first_byte_without_hedging_ms];
      push(had.with[q], is.count > 0 ? is[q] : null);
      push(had.without[q], without.count > 0 ? without[q] : null);
    }
  }
  for (const pool of frame.pools) {
    for (const backend of pool.backends) {
      const key = backendKey(pool.name, backend.address);
      const had = past.backends.get(key) ?? { p99: [], states: [] };
      past.backends.set(key, had);
      const known = [backend.latency_without_hedging_ms, backend.latency_ms].find((one) => one.count > 0);
      push(had.p99, known ? known.p99 : null);
      push(had.states, backend.state);
    }
  }
}

function drawCharts() {
  const shown = CACHE.filter((result) => result === "hit" || result === "miss" || (past.cache[result] ?? []).some((n) => n > 0));
  charts.requests.draw(past.times, shown.map((result) => ({ key: result, label: result, color: `--${result}`, values: past.cache[result] ?? [] })));

  const route = past.routes.get(by("route").value);
  const series = [];
  for (const [part, note, dashed] of [["with", "", false], ["without", " without hedging", true]]) {
    for (const q of QUANTILES) {
      if (dashed && q !== "p99" && q !== "p999") continue;
      series.push({ key: `${part}-${q}`, label: `${LABELS[q]}${note}`, color: `--${q}`, dashed, values: route ? padded(route[part][q]) : [] });
    }
  }
  charts.latency.draw(past.times, series);

  // The slowest of each moment would change from second to second; those that are slowest now are in the table.
  const backends = frame.pools.flatMap((pool) => pool.backends.map((backend) => ({ pool, backend })));
  const isAlone = frame.pools.length === 1;
  charts.backends.draw(past.times, backends.slice(0, 8).map(({ pool, backend }, place) => ({
    key: backendKey(pool.name, backend.address),
    label: `${isAlone ? "" : `${pool.name} `}${backend.address}${backend.trouble ? ` (${backend.trouble})` : ""}`,
    color: `--s${place}`,
    values: padded(past.backends.get(backendKey(pool.name, backend.address))?.p99 ?? []),
  })));

  charts.extra.draw(past.times, EXTRA.map(([key, label, color]) => ({ key, label, color, values: past.extra[key] ?? [] })));
}

function chooseRoute() {
  const select = by("route");
  const names = frame.routes.map((route) => route.name);
  const shown = [...select.options].map((option) => option.value);
  if (names.join("\n") === shown.join("\n")) return;
  const before = select.value;
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  const busiest = [...frame.routes].sort((a, b) => b.first_byte_ms.count - a.first_byte_ms.count)[0];
  select.value = names.includes(before) ? before : busiest?.name ?? "";
}

function drawHead() {
  put(by("version"), frame.version);
  put(by("uptime"), duration(frame.uptime_seconds));
  put(by("generation"), `generation ${frame.generation}`);
  const reload = frame.reload;
  put(by("reload"), reload ? `${reload.result} ${clock(reload.time)}` : "none");
  put(by("connections"), amount(frame.traffic.client_connections));
  put(by("stored"), `${amount(frame.cache.objects)}, ${bytes(frame.cache.bytes)} of ${bytes(frame.cache.capacity)}`);
  const isRejected = reload?.result === "rejected";
  by("reload-errors").hidden = !isRejected;
  if (isRejected) {
    put(by("reload-when"), `${clock(reload.time)}; generation ${frame.generation} stays in use`);
    put(by("reload-lines"), reload.lines.join("\n\n"));
  }
}

function drawTiles() {
  const { traffic, routes } = frame;
  put(by("tile-requests"), amount(traffic.requests_per_second));
  put(by("tile-hits"), percent(traffic.hit_ratio));
  const worst = [...routes].filter((route) => route.duration_ms.count > 0).sort((a, b) => b.duration_ms.p99 - a.duration_ms.p99)[0];
  put(by("tile-p99"), worst ? `${millis(worst.duration_ms.p99)} ms` : NONE);
  put(by("tile-p99-note"), worst && routes.length > 1 ? `last minute, route ${worst.name}` : "last minute");
  put(by("tile-flight"), amount(traffic.requests_in_flight));
  put(by("tile-errors"), amount(traffic.errors_per_second));
  put(by("tile-shed"), amount(traffic.shed_per_second));
  by("tile-errors-box").classList.toggle("bad", traffic.errors_per_second > 0);
  by("tile-shed-box").classList.toggle("bad", traffic.shed_per_second > 0);
}

function draw() {
  drawHead();
  drawTiles();
  chooseRoute();
  const open = tables.incidents(by("incidents").lastElementChild, frame.incidents);
  put(by("incident-count"), open > 0 ? `${open} now` : "none now");
  tables.events(by("events").lastElementChild, frame.events);
  drawCharts();
  tables.pools(by("pools"), frame.pools, (pool, address) => past.backends.get(backendKey(pool, address)), span());
  tables.routes(by("routes").tBodies[0], frame.routes);
  tables.slowest(by("slowest").tBodies[0], frame.slowest);
  document.title = open > 0 ? `(${open}) Hedgerow` : "Hedgerow";
}

function say(state, text) {
  document.body.dataset.link = state;
  put(by("link"), text);
}

function check() {
  if (document.hidden) return;
  const age = performance.now() - heard;
  if (frame && age < LATE) {
    say(frame.phase === "draining" ? "waiting" : "live", frame.phase === "draining" ? "draining" : "live");
  } else if (frame) {
    say("late", `out of date: nothing heard for ${duration(age / 1000)}; ${lost || "trying again"}`);
  } else {
    say("waiting", lost || "connecting …");
  }
}

function take(message) {
  frame = JSON.parse(message.data);
  [heard, tries, lost] = [performance.now(), 0, ""];
  extend();
  draw();
  check();
}

function close() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

function failed(why) {
  close();
  lost = why;
  const wait = AGAIN[Math.min(tries, AGAIN.length - 1)];
  tries += 1;
  retry = setTimeout(open, wait);
  check();
}

async function open() {
  close();
  const turn = (turns += 1);
  // Another may have begun, or nobody look any more, by the time the answer is here.
  const isOver = () => turn !== turns || document.hidden;
  try {
    await remember();
  } catch {
    if (!isOver()) failed("the edge does not answer; trying again");
    return;
  }
  if (isOver()) return;
  source = new EventSource("/live/events");
  source.onmessage = take;
  // A stream that ends is opened anew from here, so that what was missed is asked for. One that is refused: too many look.
  source.onerror = () => failed(source?.readyState === EventSource.CLOSED ? "refused: too many look, or the edge goes; trying again" : "the edge does not answer; trying again");
}

// Who does not look takes no seat.
document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
by("route").addEventListener("change", () => frame && drawCharts());
setInterval(check, 1000);
open();
