// The classes of the response, with the number of visible instances of each. A class can be hidden.

import { cssOf } from "./colours.js";
import { byId, element } from "./elements.js";
import { emit, on, state } from "./state.js";
import { startRoving } from "./roving.js";

const buttons = new Map();  // from a class's name
let keepOneStop;

export function startLegend() {
  keepOneStop = startRoving(byId("legend"));
  on("result", makeLegend);
  on("view", showCounts);
}

function makeLegend() {
  buttons.clear();
  for (const { category_name: name, colour } of state.shown.instances) {
    if (!buttons.has(name)) buttons.set(name, buttonOf(name, colour));
  }
  byId("legend").replaceChildren(...buttons.values());
  showCounts();
}

function buttonOf(name, colour) {
  const mark = element("i");
  mark.style.background = cssOf(colour);
  const button = element("button", { type: "button" }, mark, element("span", {}, name), element("small"));
  button.addEventListener("click", () => {
    if (!state.hidden.delete(name)) state.hidden.add(name);
    emit("view");
  });
  return button;
}

function showCounts() {
  const above = (state.shown?.instances ?? []).filter((each) => each.score > state.threshold);
  for (const [name, button] of buttons) {
    const count = above.filter((each) => each.category_name === name).length;
    button.lastChild.textContent = count;
    button.hidden = count === 0;
    button.setAttribute("aria-pressed", !state.hidden.has(name));
  }
  keepOneStop();
}
