// The options of the next requests: tiles and the most instances. The classes are chosen in classes.js.

import { byId } from "./elements.js";
import { sendAgain } from "./requests.js";
import { server } from "./server.js";
import { emit, on, state } from "./state.js";

const SIZES = ["256", "384", "512", "768", "1024"];  // pixels of a tile's side

export function startOptions() {
  const texts = { none: "no tiles: the image at once", auto: "tiles as large as the network sees them" };
  const sizes = [...new Set(["none", "auto", String(server.tileSize), ...SIZES])];
  byId("tiles").replaceChildren(...sizes.map((size) => new Option(texts[size] ?? `tiles of ${size} pixels`, size)));
  byId("tiles").value = server.tileSize;
  byId("most").max = server.mostDetections;
  byId("most").value = server.maxDetections;
  byId("tiles").addEventListener("change", () => choose("Tile-Size", byId("tiles").value, String(server.tileSize)));
  byId("most").addEventListener("change", chooseMost);
  for (const button of document.querySelectorAll(".again")) button.addEventListener("click", sendAgain);
  for (const event of ["options", "pending", "result", "failed"]) on(event, show);
}

function chooseMost() {
  if (!byId("most").reportValidity()) return;
  choose("Max-Detections", byId("most").value, String(server.maxDetections));
}

// an option that the server has by default isn't sent
function choose(name, value, ownValue) {
  if (value === ownValue) delete state.options[name];
  else state.options[name] = value;
  emit("options");
}

function show() {
  const { shown, pending, options } = state;
  const isNew = shown && !pending && ["Tile-Size", "Max-Detections", "Classes"].some((name) => options[name] !== shown.options[name]);
  for (const button of document.querySelectorAll(".again")) button.disabled = !isNew;
  if (shown) byId("tiles-hint").textContent = tilesHint(shown);
}

function tilesHint({ width, height }) {
  const isReduced = Math.min(width, height) > server.unreducedSide || Math.max(width, height) > server.longestSide;
  return isReduced
    ? "The network sees this image reduced: tiles find what is small, and take longer."
    : "The network sees this image whole: tiles may help only if they are smaller.";
}
