// The page: a wall of cameras, of which one may be large, and the figures.

import { Figures } from "./figures.js";
import { bind } from "./settings.js";
import { Socket } from "./socket.js";
import { Tile } from "./tile.js";

const wall = document.getElementById("wall");
const connection = document.getElementById("connection");
const pause = document.getElementById("pause");
const figures = new Figures(document.getElementById("charts"));
let tiles = [];
let large = null;
let words = [];

function enlarge(tile) {
  large = tile === large ? null : tile;
  for (const each of tiles) each.isLarge = each === large;
  wall.classList.toggle("has-large", large !== null);
  large?.element.scrollIntoView({ block: "nearest" });
}

function tell(message) {
  const news = JSON.parse(message);
  words = figures.tell(news) ?? words;
  if (news.cameras.length !== tiles.length) {
    large = null;
    tiles = news.cameras.map((_, index) => new Tile(index, enlarge));
    wall.replaceChildren(...tiles.map((tile) => tile.element));
    wall.style.setProperty("--cameras", tiles.length);
  }
  news.cameras.forEach((camera, index) => tiles[index].tell(camera, words[index] ?? ""));
  const away = news.cameras.filter(({ state }) => state !== "running").length;
  const count = tiles.length === 1 ? "1 camera" : `${tiles.length} cameras`;
  say(away ? `${count}, ${away} without a picture` : count);
}

/** A live region is read out when it changes, so only then. */
function say(text) {
  if (connection.textContent !== text) connection.textContent = text;
}

async function lost() {
  say("The program does not answer");
  // It may have been started with another token.
  const response = await fetch("skeletons/coco-17").catch(() => null);
  if (response?.status === 401) location.reload();
}

bind(document.getElementById("settings"), () => tiles.forEach((tile) => tile.redraw()));

pause.addEventListener("click", () => {
  const isPaused = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", isPaused);
  pause.textContent = isPaused ? "Resume" : "Pause all";
  for (const tile of tiles) tile.pause(isPaused);
});

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, select");
  if (!large || isTyping || event.ctrlKey || event.altKey || event.metaKey) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "Escape") enlarge(large);
  else if (step) enlarge(tiles[(tiles.indexOf(large) + step + tiles.length) % tiles.length]);
});

new Socket("news", tell, (isOpen) => isOpen || lost()).open();
