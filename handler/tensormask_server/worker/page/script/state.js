// What the page shows, and how one part of the page learns that another has changed it.

import { server } from "./server.js";

export const state = {
  pending: null,  // the image that waits for its response: {file, name, picture}; picture is null until it is decoded
  shown: null,  // the image on the screen with its response: made in requests.js
  hovered: null,  // one of shown.instances, under the pointer or the focus
  selected: null,  // one of shown.instances, chosen by a click, a tap or a key
  options: {},  // headers for the next requests, beside the score threshold: { "Tile-Size": "auto" }
  // what is visible of shown
  threshold: server.threshold,  // instances with a higher score are visible
  hidden: new Set(),  // names of classes that the legend hides
  opacity: 0.5,  // of the masks
  boxes: true,
  labels: true,
  outlines: false,
};

// Events:
//   pending    state.pending is new or has its picture now: an image was picked, or is sent again with other options
//   result     state.shown is new, and state.pending is null
//   failed     state.pending is null; state.shown is what it was before
//   view       what is visible of state.shown has changed: threshold, legend, opacity, boxes, labels, outlines
//   options    state.options has changed; the next requests have them
//   selection  state.hovered or state.selected has changed
const events = new EventTarget();
export const on = (event, listener) => events.addEventListener(event, listener);
export const emit = (event) => events.dispatchEvent(new Event(event));

// Best score first, as in the response.
export const visibleInstances = () => (state.shown ? state.shown.instances.filter(isVisible) : []);
const isVisible = (instance) => instance.score > state.threshold && !state.hidden.has(instance.category_name);

// The instance that is drawn apart from the others: the one under the pointer, or else the selected one.
export const highlighted = () => state.hovered ?? state.selected;

export function hover(instance) {
  if (state.hovered === instance) return;
  state.hovered = instance;
  emit("selection");
}

export function select(instance) {
  if (state.selected === instance && state.hovered === null) return;
  state.selected = instance;
  state.hovered = null;
  emit("selection");
}

// Selects the visible instance that is so many places after the selected one; from no selection, the first or the last.
export function selectNext(step) {
  const instances = visibleInstances();
  if (!instances.length) return;
  const at = instances.indexOf(state.selected);
  const start = at < 0 && step < 0 ? 0 : at;
  select(instances[(start + step + instances.length) % instances.length]);
}

// What has become invisible is no longer selected.
on("view", () => {
  if (state.hovered && !isVisible(state.hovered)) hover(null);
  if (state.selected && !isVisible(state.selected)) select(null);
});
