// The list of the instances that are visible.

import { cssOf } from "./colours.js";
import { countText } from "./controls.js";
import { byId, element } from "./elements.js";
import { highlighted, hover, on, select, state, visibleInstances } from "./state.js";
import { startRoving } from "./roving.js";

const entries = new Map();  // from each instance of the response to its <li>
let keepOneStop;

export function startList() {
  keepOneStop = startRoving(byId("list"));
  on("result", makeList);
  on("view", showVisible);
  on("selection", showSelection);
}

function makeList() {
  entries.clear();
  for (const instance of state.shown.instances) entries.set(instance, entryOf(instance));
  showVisible();
}

function entryOf(instance) {
  const mark = element("i");
  mark.style.background = cssOf(instance.colour);
  const button = element("button", { type: "button" }, mark, element("b", {}, instance.category_name), element("small", {}, instance.score.toFixed(2)));
  button.addEventListener("click", () => select(instance === state.selected ? null : instance));
  button.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") hover(instance); });
  button.addEventListener("pointerleave", () => hover(null));
  button.addEventListener("focus", () => { if (button.matches(":focus-visible")) hover(instance); });
  button.addEventListener("blur", () => hover(null));
  return element("li", {}, button);
}

function showVisible() {
  const instances = visibleInstances();
  byId("list").replaceChildren(...instances.map((each) => entries.get(each)));
  byId("count").textContent = countText(instances.length);
  byId("more").textContent = moreText();
  keepOneStop();
  showSelection();
}

// The response has the best instances up to a number. It doesn't say whether there were others.
function moreText() {
  const { instances, most } = state.shown;
  const isCut = instances.length >= most && instances.every((each) => each.score > state.threshold);
  return isCut ? `The server sends the ${most} with the highest scores. There may be more.` : "";
}

function showSelection() {
  for (const [instance, entry] of entries) {
    entry.firstChild.classList.toggle("lit", instance === highlighted());
    entry.firstChild.setAttribute("aria-pressed", instance === state.selected);
  }
  const selected = entries.get(state.selected);
  if (selected && !state.hovered && !selected.contains(document.activeElement)) selected.scrollIntoView({ block: "nearest" });
}
