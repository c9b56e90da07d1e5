// The list of the instances that are visible.

import { byId, element } from "./elements.js";
import { on, select, state, visibleInstances } from "./state.js";

const buttons = new Map();  // from instances

export function startList() {
  for (const event of ["result", "view"]) on(event, show);
  on("selection", light);
}

function show() {
  const instances = visibleInstances();
  byId("count").textContent = instances.length === 1 ? "1 instance" : `${instances.length} instances`;
  buttons.clear();
  byId("list").replaceChildren(...instances.map(entry));
  light();
}

function entry(instance) {
  const parts = [["i", ""], ["b", instance.category_name], ["small", instance.score.toFixed(2)], ["small", `${instance.area} px`]];
  const button = element("button", { type: "button" }, ...parts.map(([tag, text]) => element(tag, {}, text)));
  button.firstChild.style.background = instance.colour;
  for (const start of ["pointerenter", "focus"]) button.addEventListener(start, () => select(instance));
  for (const end of ["pointerleave", "blur"]) button.addEventListener(end, () => select(null));
  buttons.set(instance, button);
  return element("li", {}, button);
}

function light() {
  for (const [instance, button] of buttons) button.classList.toggle("lit", instance === state.selected);
}
