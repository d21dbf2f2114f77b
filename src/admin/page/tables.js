// The parts of the page that are rows of words and numbers. Rows are kept and rewritten, so that nothing jumps or blinks.

import { sparkline, spark } from "./chart.js";
import { NONE, amount, clock, duration, element, millis, percent, put, withUnit } from "./text.js";

// How bad a backend's trouble is, and what the word means.
const TROUBLES = {
  ejected: ["bad", "gets no requests"],
  probation: ["bad", "slower than its peers: only copies try it"],
  slow: ["warn", "late far more often than its peers"],
  throttled: ["warn", "says “not now”, and is sent less"],
  recovering: ["warn", "let back in, has to prove itself"],
};

const PHASE_COLORS = ["--s0", "--s1", "--s2", "--s3", "--s4", "--s5", "--s6", "--s7"];

// One child of `parent` for each item, in their order: `make` it once, `fill` it each time.
function each(parent, items, key, make, fill) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = 0;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    if (child) {
      known.delete(name);
    } else {
      child = make(item);
      child.dataset.key = name;
    }
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
    fill(child, item);
    place += 1;
  }
  for (const gone of known.values()) gone.remove();
}

function row(columns) {
  return () => {
    const made = element("tr");
    for (const column of columns) made.append(element("td", column));
    return made;
  };
}

function cells(tr, texts) {
  texts.forEach((text, at) => {
    if (text !== null) put(tr.children[at], text);
  });
}

function pill(cell, word, kind, title) {
  if (!cell.firstChild) cell.append(element("span"));
  const mark = cell.firstChild;
  mark.className = `pill ${kind}`;
  mark.title = title ?? "";
  put(mark, word);
}

function meter(cell, share, text, isLow) {
  if (!cell.firstChild) {
    const frame = element("span", "meter");
    frame.append(element("i"));
    cell.append(frame, element("span"));
  }
  const [frame, label] = cell.children;
  frame.className = isLow ? "meter low" : "meter";
  frame.firstChild.style.width = `${Math.min(100, Math.max(0, (share ?? 0) * 100))}%`;
  put(label, text);
}

const BACKEND_COLUMNS = [
  ["backend", "", "17%"], ["state", "", "11%"], ["for", "", "9%"], ["share of the pool", "", "14%"], ["in flight", "n", "7%"], ["EWMA ms", "n", "8%"],
  ["p99 ms", "n", "8%"], ["p99 had all been waited for", "n", "10%"], ["late", "n", "7%"], ["p99, as above", "", "13%"],
];

function makePool(pool) {
  const panel = element("section", "panel pool");
  const head = element("h2", "", `Pool ${pool.name}`);
  const table = element("table", "backends");
  const titles = element("tr");
  for (const [title, kind, width] of BACKEND_COLUMNS) {
    const cell = element("th", kind, title);
    cell.style.width = width;
    titles.append(cell);
  }
  const top = element("thead");
  top.append(titles);
  table.append(top, element("tbody"));
  const wide = element("div", "wide");
  wide.append(table);
  panel.append(head, element("ul", "numbers"), wide);
  return panel;
}

function number(label, value, alert) {
  return { label, value, alert };
}

export function pools(parent, all, past, span) {
  each(parent, all, (pool) => pool.name, makePool, (panel, pool) => {
    const numbers = [
      number("attempts/s", amount(pool.attempts_per_second)),
      number("admitted", `${pool.admitted}${pool.limit === null ? "" : ` of ${pool.limit}`}`),
      number("queued", amount(pool.queued), pool.queued > 0),
      number("attempts per request", pool.amplification === null ? NONE : pool.amplification.toFixed(3)),
      number("copies/s", amount(pool.hedges_per_second)),
      number("copies that won/s", amount(pool.hedges_won_per_second)),
      number("budget for copies and retries", amount(Math.floor(pool.ledger)), pool.ledger < 1),
      number("denied by budget/s", amount(pool.hedges_unpaid_per_second), pool.hedges_unpaid_per_second > 0),
      number("retries/s", amount(pool.retries_per_second)),
      number("shed/s", amount(pool.shed_per_second), pool.shed_per_second > 0),
      number("wasted", `${pool.wasted_share.toFixed(2)} s/s`),
    ];
    each(panel.children[1], numbers, (one) => one.label, () => {
      const item = element("li");
      item.append(element("span"), " ", element("b"));
      return item;
    }, (item, one) => {
      item.className = one.alert ? "alert" : "";
      put(item.children[0], one.label);
      put(item.children[1], one.value);
    });
    const body = panel.querySelector("tbody");
    each(body, pool.backends, (backend) => backend.address, () => {
      const made = row(BACKEND_COLUMNS.map(([, kind]) => kind))();
      made.lastChild.append(sparkline());
      return made;
    }, (tr, backend) => {
      const [kind, meaning] = TROUBLES[backend.trouble] ?? ["", "takes its share"];
      tr.className = kind;
      tr.dataset.trouble = backend.trouble ?? "";
      const latency = (one, at) => (one.count > 0 ? millis(one[at]) : NONE);
      const name = backend.host && !backend.address.startsWith(backend.host) ? `${backend.address} (${backend.host})` : backend.address;
      cells(tr, [
        name, null, duration(backend.state_seconds), null,
        `${backend.in_flight}${backend.limit === null ? "" : ` / ${Math.round(backend.limit)}`}`,
        millis(backend.ewma_ms), latency(backend.latency_ms, "p99"), latency(backend.latency_without_hedging_ms, "p99"),
        percent(backend.late), null,
      ]);
      tr.children[0].title = name;
      pill(tr.children[1], backend.trouble ?? backend.state, kind, backend.reason ?? meaning);
      meter(tr.children[3], backend.share, percent(backend.share));
      const had = past(pool.name, backend.address);
      if (had) spark(tr.lastChild.firstChild, had.p99, had.states.map((state) => state !== "healthy"), span);
    });
  });
  if (all.length === 0 && !parent.firstChild) parent.append(element("p", "empty", "no pools"));
}

const ROUTE_COLUMNS = ["", "dim", "n", "n", "n", "n", "n", "n", "", "n"];

export function routes(body, all) {
  each(body, all, (route) => route.name, row(ROUTE_COLUMNS), (tr, route) => {
    const [is, without] = [route.first_byte_ms, route.first_byte_without_hedging_ms];
    const of = (one, at) => (one.count > 0 ? millis(one[at]) : NONE);
    cells(tr, [
      route.name, route.pool, amount(route.requests_per_second), of(is, "p50"), of(is, "p99"), of(is, "p999"), of(without, "p99"),
      withUnit(route.hedge_delay_ms), null, route.governor_scale.toFixed(2),
    ]);
    meter(tr.children[8], route.budget_level, percent(route.budget_level), route.budget_level < 0.1);
  });
}

const SLOW_COLUMNS = ["n", "dim", "request", "n", "", "", ""];

export function slowest(body, all) {
  const key = (one) => `${one.time} ${one.request_id ?? ""} ${one.path} ${one.duration_ms}`;
  each(body, all, key, row(SLOW_COLUMNS), (tr, one) => {
    const target = `${one.method} ${one.host ?? ""}${one.path ?? ""}`;
    const at = Date.parse(one.time) / 1000;
    cells(tr, [withUnit(one.duration_ms), clock(at), target, one.status ? String(one.status) : NONE, one.cache, one.backend ?? NONE, null]);
    tr.children[2].title = `${target}\nroute ${one.route}${one.request_id ? `\nrequest ${one.request_id}` : ""}${one.trace_id ? `\ntrace ${one.trace_id}` : ""}`;
    const cell = tr.children[6];
    if (cell.firstChild) return;
    const phases = Object.entries(one.phases_ms).sort((a, b) => b[1] - a[1]);
    const bar = element("span", "phases");
    phases.forEach(([, took], place) => {
      const part = element("i");
      part.style.width = `${(took / one.duration_ms) * 100}%`;
      part.style.background = `var(${PHASE_COLORS[place % PHASE_COLORS.length]})`;
      bar.append(part);
    });
    const waited = element("span", "waited");
    waited.title = phases.map(([phase, took]) => `${phase} ${withUnit(took)}`).join("\n");
    waited.append(bar, element("span", "dim", phases.slice(0, 2).map(([phase, took]) => `${phase} ${withUnit(took)}`).join(", ")));
    cell.append(waited);
  });
}

function makeStory() {
  const story = element("article", "story");
  const head = element("p", "head");
  head.append(element("span", "pill"), element("b"), element("span", "when"));
  const list = element("ul");
  for (const label of ["did", "cost"]) {
    const item = element("li");
    item.append(element("b", "", label), element("span"));
    list.append(item);
  }
  story.append(head, element("p"), list);
  return story;
}

export function incidents(list, all) {
  const empty = all.length === 0 ? [{ number: "none" }] : [];
  each(list, empty.concat(all), (one) => one.number, (one) => (one.number === "none" ? element("p", "empty good", "none since the start") : makeStory()), (child, one) => {
    if (one.number === "none") return;
    const isOpen = one.ended === null;
    child.className = `story ${isOpen ? "open" : ""}`;
    const [mark, name, when] = child.firstChild.children;
    mark.className = `pill ${isOpen ? TROUBLES[one.now ?? one.trouble][0] : "over"}`;
    put(mark, isOpen ? one.now ?? one.trouble : `over: ${one.trouble}`);
    put(name, one.backend);
    put(when, `pool ${one.pool}, since ${clock(one.since)}, ${isOpen ? "for" : "lasted"} ${duration(one.lasts_seconds)}`);
    put(child.children[1], `It ${one.what}.`);
    const [did, cost] = child.lastChild.children;
    put(did.lastChild, one.did.join("; ") || "nothing yet");
    put(cost.lastChild, one.cost.join("; "));
  });
  return all.filter((one) => one.ended === null).length;
}

const MARKS = { worse: "▼", better: "▲", neutral: "•" };

export function events(list, all) {
  const empty = all.length === 0 ? [{ number: "none" }] : [];
  each(list, empty.concat(all), (one) => one.number, (one) => {
    if (one.number === "none") return element("p", "empty", "nothing yet");
    const made = element("div", `event ${one.turn}`);
    const text = element("span", "text");
    const subject = one.backend ?? (one.pool ? `pool ${one.pool}` : one.topic);
    text.append(element("b", "", subject), ` ${one.what} `, element("span", "why", one.why));
    const mark = element("span", "mark", MARKS[one.turn]);
    mark.title = one.turn;
    made.append(element("time", "", clock(one.time)), mark, text);
    made.title = new Date(one.time * 1000).toString();
    return made;
  }, () => {});
}
