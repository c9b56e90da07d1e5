// The slider of the score threshold.

import { byId } from "./elements.js";
import { server } from "./server.js";
import { emit, on, state } from "./state.js";

export function startThreshold() {
  byId("threshold").min = server.lowestScore;
  byId("threshold").value = state.threshold;
  byId("threshold").addEventListener("input", () => {
    state.threshold = Number(byId("threshold").value);
    emit("view");
  });
  on("view", show);
  show();
}

function show() {
  byId("shown-threshold").textContent = state.threshold.toFixed(2);
}
