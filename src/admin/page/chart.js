// Charts of the last ten minutes, in SVG. Each is redrawn whole once a second: some ten paths of 600 points.

import { amount, clock, element, put } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
// As much as there is to show, in steps, so that a young edge is not all at the right.
const SPANS = [60_000, 120_000, 300_000, 600_000];
const HEIGHT = 210;
const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 20;

export function spanOf(times) {
  const covered = times.length ? times[times.length - 1] - times[0] : 0;
  return SPANS.find((span) => covered <= span) ?? SPANS[SPANS.length - 1];
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  return made;
}

// A round number of about a fourth of `most`, and its multiples up to what holds `most`.
function linearTicks(most) {
  const rough = Math.max(most, 1e-9) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const ticks = [];
  for (let at = 0; ticks.length < 2 || ticks[ticks.length - 1] < most; at += 1) ticks.push(at * step);
  return ticks;
}

function logTicks(least, most) {
  const ticks = [];
  const first = Math.floor(Math.log10(least));
  const last = Math.ceil(Math.log10(Math.max(most, least * 1.01)));
  for (let power = first; power <= last; power += 1) {
    for (const n of last - first > 3 ? [1] : [1, 2, 5]) ticks.push(n * 10 ** power);
  }
  let from = ticks.findIndex((tick) => tick > least) - 1;
  if (from < 0) from = 0;
  const to = ticks.findIndex((tick) => tick >= most);
  return ticks.slice(from, to < 0 ? ticks.length : Math.max(to, from + 1) + 1);
}

export class Chart {
  // `form`: { log, stacked, unit, format }. Series are given with each drawing: { key, label, color, dashed, values }.
  constructor(panel, form) {
    this.form = { format: amount, ...form };
    this.svg = shape("svg", { role: "img", tabindex: "0" });
    this.legend = element("ul", "legend");
    panel.append(this.svg, this.legend);
    this.name = panel.querySelector("h2").textContent.trim().replace(/\s+/g, " ");
    this.cursor = null;
    this.rows = new Map();
    this.width = 0;
    new ResizeObserver(() => this.redraw()).observe(this.svg);
    this.svg.addEventListener("pointermove", (event) => this.pointAt(event.clientX));
    this.svg.addEventListener("pointerdown", (event) => this.pointAt(event.clientX));
    this.svg.addEventListener("pointerleave", () => this.point(null));
    this.svg.addEventListener("blur", () => this.point(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  draw(times, series) {
    [this.times, this.series] = [times, series];
    this.redraw();
  }

  pointAt(clientX) {
    if (!this.times?.length) return;
    const x = clientX - this.svg.getBoundingClientRect().left;
    const end = this.times[this.times.length - 1];
    const time = end - spanOf(this.times) * (1 - (x - LEFT) / Math.max(1, this.width - LEFT - RIGHT));
    let best = 0;
    this.times.forEach((at, index) => {
      if (Math.abs(at - time) < Math.abs(this.times[best] - time)) best = index;
    });
    this.point(this.times[best]);
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.point(null);
    if (!step || !this.times?.length) return;
    event.preventDefault();
    const now = this.cursor === null ? this.times.length - 1 : this.times.indexOf(this.cursor);
    const next = now + step * (event.shiftKey ? 30 : 1);
    this.point(this.times[Math.min(this.times.length - 1, Math.max(0, next))]);
  }

  point(time) {
    this.cursor = time;
    this.redraw();
  }

  redraw() {
    if (!this.times) return;
    this.width = this.svg.clientWidth || 600;
    const { times, series, width } = this;
    const end = times.length ? times[times.length - 1] : 0;
    const span = spanOf(times);
    const x = (time) => LEFT + (1 - (end - time) / span) * (width - LEFT - RIGHT);
    const parts = [];
    const stacks = this.form.stacked ? stack(series, times.length) : null;
    const y = this.scale(stacks, parts);
    const steps = width < 420 ? 2 : span < 300_000 ? 4 : 5;
    for (let step = 0; step < steps; step += 1) {
      const ago = (span / steps) * step;
      const label = shape("text", { x: x(end - ago), y: HEIGHT - 5, "text-anchor": step === 0 ? "end" : "middle" });
      label.textContent = step === 0 ? "now" : ago % 60_000 === 0 ? `−${ago / 60_000} min` : `−${ago / 1000} s`;
      parts.push(label);
    }
    series.forEach((one, place) => {
      const d = stacks
        ? area(times, stacks[place], stacks[place - 1], x, y)
        : line(times, one.values, x, y);
      const kind = stacks ? "area" : `series${one.dashed ? " dashed" : ""}`;
      const path = shape("path", { class: kind, d, "data-key": one.key });
      path.style[stacks ? "fill" : "stroke"] = `var(${one.color})`;
      parts.push(path);
    });
    const place = this.cursor === null ? times.length - 1 : times.indexOf(this.cursor);
    if (this.cursor !== null && place >= 0) {
      parts.push(shape("line", { class: "cursor", x1: x(this.cursor), x2: x(this.cursor), y1: TOP, y2: HEIGHT - BOTTOM }));
    }
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(...parts);
    this.tell(place);
  }

  // Draws the axis; gives the place of a value.
  scale(stacks, parts) {
    const values = (stacks ? stacks.slice(-1) : this.series.map((one) => one.values)).flat();
    const known = values.filter((value) => typeof value === "number" && (!this.form.log || value > 0));
    const most = known.reduce((a, b) => Math.max(a, b), 0) || 1;
    const least = known.reduce((a, b) => Math.min(a, b), most);
    const ticks = this.form.log ? logTicks(least, most) : linearTicks(most);
    const of = this.form.log ? Math.log10 : (value) => value;
    const [low, high] = [of(ticks[0]), of(ticks[ticks.length - 1])];
    const floor = this.form.log ? ticks[0] : 0;
    const y = (value) => {
      const part = (of(Math.max(value, floor)) - low) / (high - low || 1);
      return HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP);
    };
    ticks.forEach((tick) => {
      parts.push(shape("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y(tick), y2: y(tick) }));
      const label = shape("text", { x: LEFT - 7, y: y(tick) + 4, "text-anchor": "end" });
      label.textContent = tick >= 1e4 ? amount(tick) : String(+tick.toPrecision(3));
      parts.push(label);
    });
    return y;
  }

  // The legend has the values: those of the moment under the cursor, or the newest.
  tell(place) {
    if (!this.at) {
      this.at = element("li", "at");
      this.legend.append(this.at);
    }
    put(this.at, this.cursor === null ? "now" : clock(this.cursor / 1000));
    const wanted = new Set(this.series.map((one) => one.key));
    for (const [key, row] of this.rows) {
      if (!wanted.has(key)) {
        row.remove();
        this.rows.delete(key);
      }
    }
    const said = [];
    for (const one of this.series) {
      let row = this.rows.get(one.key);
      if (!row) {
        row = element("li");
        row.append(sample(one, this.form.stacked), element("span", "", one.label), element("b"));
        this.rows.set(one.key, row);
        this.legend.append(row);
      }
      const value = this.form.format(one.values[place]);
      put(row.lastChild, value);
      said.push(`${one.label} ${value}`);
    }
    this.svg.setAttribute("aria-label", `${this.name}. ${this.at.textContent}: ${said.join(", ")}`);
  }
}

function sample(one, stacked) {
  const svg = shape("svg", { viewBox: "0 0 20 10", "aria-hidden": "true" });
  const path = stacked
    ? shape("rect", { x: 4, y: 0, width: 12, height: 10, rx: 2 })
    : shape("path", { class: `series${one.dashed ? " dashed" : ""}`, d: "M0 5H20" });
  path.style[stacked ? "fill" : "stroke"] = `var(${one.color})`;
  svg.append(path);
  return svg;
}

function stack(series, length) {
  let below = new Array(length).fill(0);
  return series.map((one) => {
    below = below.map((sum, at) => sum + (one.values[at] ?? 0));
    return below;
  });
}

function line(times, values, x, y) {
  let d = "";
  let pen = false;
  times.forEach((time, at) => {
    const value = values[at];
    if (typeof value !== "number") {
      pen = false;
      return;
    }
    d += `${pen ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = true;
  });
  return d;
}

function area(times, upper, lower, x, y) {
  if (times.length === 0) return "";
  const there = times.map((time, at) => `${x(time).toFixed(1)} ${y(upper[at]).toFixed(1)}`);
  const back = times.map((time, at) => `${x(time).toFixed(1)} ${y(lower ? lower[at] : 0).toFixed(1)}`).reverse();
  return `M${there.join("L")}L${back.join("L")}Z`;
}

// A line as small as a table's row; `bad` marks the moments that are shaded.
export function spark(svg, values, bad, width) {
  const height = 26;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const most = values.reduce((a, b) => (typeof b === "number" ? Math.max(a, b) : a), 0) || 1;
  const offset = width - values.length + 1;
  const parts = [];
  for (let at = 0; at < bad.length; at += 1) {
    let to = at;
    while (to < bad.length && bad[to]) to += 1;
    if (to > at) parts.push(shape("rect", { x: offset + at, y: 0, width: to - at, height }));
    at = Math.max(at, to);
  }
  const d = line(values.map((_, at) => at), values, (at) => offset + at, (value) => height - 2 - (value / most) * (height - 4));
  parts.push(shape("path", { d }));
  svg.replaceChildren(...parts);
}

export function sparkline() {
  return shape("svg", { class: "spark", "aria-hidden": "true" });
}
