// The options of the next request.

import { byId } from "./elements.js";
import { sendAgain } from "./requests.js";
import { server } from "./server.js";
import { on, state } from "./state.js";

export function startOptions() {
  byId("tiles").addEventListener("change", () => {
    state.options = tileHeader();
    sendAgain();
  });
  on("result", show);
}

function show() {
  const { width, height, options } = state.shown;
  byId("tiling").hidden = !isReduced(width, height);
  byId("tiles").checked = (options["Tile-Size"] ?? server.tileSize) !== "none";
}

// the header that requests what the checkbox says, where the server wouldn't do that by itself
function tileHeader() {
  const tiles = !byId("tiles").checked ? "none" : server.tileSize === "none" ? "auto" : server.tileSize;
  return tiles === server.tileSize ? {} : { "Tile-Size": tiles };
}

// whether the network sees an image of this size reduced
const isReduced = (width, height) => Math.min(width, height) > server.unreducedSide || Math.max(width, height) > server.longestSide;
