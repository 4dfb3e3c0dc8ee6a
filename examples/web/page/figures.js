// The engine's figures as small charts of the last two minutes.

const LENGTH = 120;
const WIDTH = 120;
const HEIGHT = 40;

const short = (value) => (value < 10 ? value.toFixed(1) : `${Math.round(value)}`);
const pair = (stats, name) => [stats[`${name}-p50`], stats[`${name}-p99`]];

/** Each is read from what was told a while ago and now, and how many seconds are between: one line, or two. */
const CHARTS = [
  { name: "Frames per second", unit: "", least: 10, read: (before, now, seconds) => [sum(before, now, "frames") / seconds] },
  {
    name: "Batch fill",
    unit: " %",
    least: 100,
    read: ({ network: before }, { network: now }) => {
      const runs = (now.batches - before.batches) * now["batch-size"];
      return [runs > 0 ? (100 * (now.crops - before.crops)) / runs : 0];
    },
  },
  { name: "Wait", unit: " ms", least: 5, two: true, read: (_, { network }) => pair(network, "wait-ms") },
  { name: "Inference", unit: " ms", least: 5, two: true, read: (_, { network }) => pair(network, "inference-ms") },
  { name: "Skipped per second", unit: "", least: 10, read: (before, now, seconds) => [sum(before, now, "skipped") / seconds] },
  { name: "GPU", unit: " %", least: 100, read: (_, { network }) => [network["gpu-utilization"]] },
  { name: "GPU's memory", unit: " GiB", least: 1, read: (_, { network }) => [network["gpu-memory"] / 2 ** 30] },
];

const COUNTS = { frames: ({ frames }) => frames, skipped: ({ figures }) => figures["frames-skipped"] ?? 0 };

/** By how much a count of a camera has grown; some begin at 0 when it is opened again. */
function growth(before, now, name, index) {
  return Math.max(0, COUNTS[name](now.cameras[index]) - COUNTS[name](before.cameras[index]));
}

function sum(before, now, name) {
  return now.cameras.reduce((all, _, index) => all + growth(before, now, name, index), 0);
}

/** A round number that is at least as large. */
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 5, 7.5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

class Chart {
  element;
  #kind;
  #history = [];

  constructor(kind) {
    this.#kind = kind;
    this.element = document.getElementById("chart").content.firstElementChild.cloneNode(true);
    this.#part(".name").textContent = kind.name;
    this.element.classList.toggle("two", kind.two ?? false);
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }

  add(values) {
    // Not every machine tells it.
    this.element.hidden = !values.every(Number.isFinite);
    if (this.element.hidden) return;
    this.#history.push(values);
    if (this.#history.length > LENGTH) this.#history.shift();
    const { name, unit, least } = this.#kind;
    const text = (value) => short(value) + unit;
    const most = round(Math.max(least, ...this.#history.flat()));
    this.#part(".now").textContent = values.map(short).join(", ") + unit;
    this.#part(".most").textContent = `${most}${unit}`;
    const first = this.#line(0, most);
    this.#part(".first").setAttribute("d", first);
    const start = WIDTH - this.#history.length + 1;
    this.#part(".area").setAttribute("d", `${first} V${HEIGHT} H${start} Z`);
    this.#part(".second").setAttribute("d", values.length === 2 ? this.#line(1, most) : "");
    const of = values.length - 1;
    const all = this.#history.map((values) => values[of]);
    const words = values.length === 2 ? `p50 ${text(values[0])}, p99 ${text(values[1])}` : text(values[0]);
    const range = `${text(Math.min(...all))} to ${text(Math.max(...all))}`;
    this.#part("svg").setAttribute("aria-label", `${name}: ${words}; in the last ${all.length} seconds ${range}`);
  }

  #line(which, most) {
    const start = WIDTH - this.#history.length + 1;
    const points = this.#history.map((values, index) => {
      const y = HEIGHT - 1 - (values[which] / most) * (HEIGHT - 2);
      return `${start + index},${y.toFixed(2)}`;
    });
    return `M${points.join(" L")}`;
  }
}

export class Figures {
  #charts = CHARTS.map((kind) => ({ kind, chart: new Chart(kind) }));
  #before = null;
  #at = 0;

  constructor(place) {
    place.replaceChildren(...this.#charts.map(({ chart }) => chart.element));
  }

  /** Takes what the program tells; answers for each camera its figures in words. */
  tell(now) {
    const at = performance.now();
    const seconds = (at - this.#at) / 1000;
    if (!this.#before || this.#before.cameras.length !== now.cameras.length) {
      this.#before = now;
      this.#at = at;
      return now.cameras.map(() => "");
    }
    // A camera's news comes between: too soon for a rate.
    if (seconds < 0.5) return null;
    for (const { kind, chart } of this.#charts) chart.add(kind.read(this.#before, now, seconds));
    const words = now.cameras.map((_, index) => {
      const of = (name) => growth(this.#before, now, name, index) / seconds;
      const skipped = of("skipped");
      return `${short(of("frames"))} frames/s${skipped > 0 ? `, ${short(skipped)} skipped` : ""}`;
    });
    this.#before = now;
    this.#at = at;
    return words;
  }
}
