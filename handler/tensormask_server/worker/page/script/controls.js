// What is drawn of the response: the score threshold, the masks' opacity, and what stands around the masks.

import { byId } from "./elements.js";
import { server } from "./server.js";
import { emit, on, state, visibleInstances } from "./state.js";

export function startControls() {
  byId("threshold").min = server.lowestScore;
  byId("threshold").value = state.threshold;
  byId("threshold").addEventListener("input", () => change("threshold", Number(byId("threshold").value)));
  byId("opacity").addEventListener("input", () => change("opacity", Number(byId("opacity").value)));
  for (const toggle of ["boxes", "labels", "outlines"]) {
    byId(toggle).checked = state[toggle];
    byId(toggle).addEventListener("change", () => change(toggle, byId(toggle).checked));
  }
  for (const event of ["result", "view"]) on(event, showThreshold);
  showThreshold();
}

function change(name, value) {
  state[name] = value;
  emit("view");
}

function showThreshold() {
  const text = state.threshold.toFixed(2);
  byId("shown-threshold").textContent = text;
  byId("threshold").setAttribute("aria-valuetext", `${text}: ${countText(visibleInstances().length)}`);
}

export const countText = (count) => (count === 1 ? "1 instance" : `${count} instances`);
