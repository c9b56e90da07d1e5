// What the page shows, and how one part of the page learns that another has changed it.

import { server } from "./server.js";

export const state = {
  pending: null,  // the image that waits for its response: {file, name}
  shown: null,  // the image on the screen with its response: made in requests.js
  selected: null,  // one of shown.instances, or null: under the pointer or the focus
  threshold: server.threshold,  // instances with a higher score are visible
  options: {},  // headers for the next requests, beside the score threshold: { "Tile-Size": "auto" }
};

// Events:
//   pending    state.pending is new: an image was picked, or is sent again with other options
//   result     state.shown is new, and state.pending is null
//   failed     state.pending is null; state.shown is what it was before
//   view       what is visible of state.shown has changed: threshold, filters, opacity, toggles
//   options    state.options has changed; the next requests have them
//   selection  state.selected has changed
const events = new EventTarget();
export const on = (event, listener) => events.addEventListener(event, listener);
export const emit = (event) => events.dispatchEvent(new Event(event));

export const visibleInstances = () => (state.shown ? state.shown.instances.filter((each) => each.score > state.threshold) : []);

export function select(instance) {
  if (state.selected === instance) return;
  state.selected = instance;
  emit("selection");
}
