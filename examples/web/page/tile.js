// One camera: its picture with people drawn on it, its state, and its buttons.

import { draw, fit, nearest } from "./drawing.js";
import { isSupported, Player } from "./player.js";
import { settings } from "./settings.js";

/** Pixels within which a point is hovered. */
const REACH = 14;

export class Tile {
  element;
  #onEnlarge;
  #video;
  #canvas;
  #context;
  #hint;
  #player = null;
  #found = {};
  #pointer = null;
  #isPaused = false;
  #isInSight = false;
  #listed = 0;

  constructor(index, onEnlarge) {
    this.#onEnlarge = onEnlarge;
    this.element = document.getElementById("tile").content.firstElementChild.cloneNode(true);
    this.#video = this.#part("video");
    this.#canvas = this.#part("canvas");
    this.#context = this.#canvas.getContext("2d");
    this.#hint = this.#part(".hint");
    const heading = this.#part("h2");
    heading.id = `camera-${index}`;
    this.element.setAttribute("aria-labelledby", heading.id);

    this.#part(".pause").addEventListener("click", () => this.pause(!this.#isPaused));
    this.#part(".enlarge").addEventListener("click", () => this.#onEnlarge(this));
    const picture = this.#part(".picture");
    picture.addEventListener("click", () => this.#onEnlarge(this));
    picture.addEventListener("pointermove", ({ clientX, clientY }) => {
      const { left, top } = this.#canvas.getBoundingClientRect();
      this.#pointer = [clientX - left, clientY - top];
      this.#point();
    });
    picture.addEventListener("pointerleave", () => {
      this.#pointer = null;
      this.#point();
    });
    new ResizeObserver(() => this.redraw()).observe(this.#canvas);
    this.#video.addEventListener("resize", () => this.redraw());
    if (!isSupported) {
      this.#fault("This browser is too old to show the video: it lacks MediaSource or requestVideoFrameCallback.");
      return;
    }
    this.#player = new Player(
      this.#video,
      `camera/${index}`,
      (found) => {
        this.#found = found;
        this.element.classList.add("has-picture");
        this.redraw();
      },
      (text) => this.#fault(text),
    );
    // A stream that is not visible is not sent.
    const observer = new IntersectionObserver(([entry]) => {
      this.#isInSight = entry.isIntersecting;
      this.#play();
    });
    observer.observe(this.element);
    document.addEventListener("visibilitychange", () => this.#play());
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }

  #fault(text) {
    this.#part(".state").textContent = text;
  }

  #play() {
    if (this.#isInSight && !this.#isPaused && !document.hidden) this.#player?.start();
    else this.#player?.stop();
  }

  pause(isPaused) {
    this.#isPaused = isPaused;
    const button = this.#part(".pause");
    button.textContent = isPaused ? "Resume" : "Pause";
    button.setAttribute("aria-pressed", isPaused);
    this.#play();
    this.#list();
  }

  set isLarge(isLarge) {
    this.element.classList.toggle("large", isLarge);
    const button = this.#part(".enlarge");
    button.textContent = isLarge ? "Show all" : "Enlarge";
    button.setAttribute("aria-pressed", isLarge);
    this.#part(".people").hidden = !isLarge;
    this.#list();
  }

  /** What the program says of the camera. */
  tell({ name, state, reason }, figures) {
    this.#part("h2").textContent = name;
    this.element.dataset.state = state;
    const said = {
      running: "",
      away: `Lost: ${reason}. It is opened again automatically.`,
      ended: "This video has ended.",
      left: `${reason}.`,
    };
    const line = this.#part(".state");
    // A live region is read out when it changes, so only then.
    if (isSupported && line.textContent !== said[state]) line.textContent = said[state];
    if (state !== "running") {
      this.#found = {};
      this.redraw();
    }
    this.#part(".figures").textContent = state === "running" ? figures : "";
  }

  redraw() {
    const canvas = this.#canvas;
    const ratio = window.devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    this.#context.clearRect(0, 0, width, height);
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.#video.videoWidth) draw(this.#context, this.#place(), this.#found, settings);
    this.#context.resetTransform();
    this.#point();
    if (performance.now() - this.#listed > 1000) this.#list();
  }

  #place() {
    const { videoWidth, videoHeight } = this.#video;
    return fit(videoWidth, videoHeight, this.#canvas.clientWidth, this.#canvas.clientHeight);
  }

  #point() {
    const found = this.#pointer && nearest(this.#place(), this.#found, settings, this.#pointer, REACH);
    this.#hint.hidden = !found;
    if (!found) return;
    this.#hint.textContent = found.text;
    const [x, y] = found.place;
    const right = x > this.#canvas.clientWidth / 2;
    this.#hint.style.translate = `calc(${x}px + ${right ? "-100% - 0.75rem" : "0.75rem"}) calc(${y}px - 50%)`;
  }

  /** The people in words: on the picture for who does not see it, and as a table of the large one. */
  #list() {
    this.#listed = performance.now();
    const people = this.#found.people ?? [];
    const words = people.length === 1 ? "1 person" : `${people.length} people`;
    this.#canvas.setAttribute("aria-label", this.element.dataset.state === "running" ? words : "no picture");
    if (!this.element.classList.contains("large")) return;
    const rows = people.map(({ id, score, box, points }) => {
      const seen = points.filter((point) => point[2] >= settings.threshold).length;
      const percent = (value) => `${Math.round(100 * value)} %`;
      const middle = `${percent(box[0] + box[2] / 2)}, ${percent(box[1] + box[3] / 2)}`;
      const row = document.createElement("tr");
      for (const text of [id ?? "none", score.toFixed(2), `${seen} of ${points.length}`, middle]) {
        row.insertCell().textContent = text;
      }
      return row;
    });
    this.#part("tbody").replaceChildren(...rows);
  }
}
