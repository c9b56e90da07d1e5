// Zooming, moving and selecting with mouse, touch, keys and buttons.

import { byId } from "./elements.js";
import { hover, select, selectNext, state } from "./state.js";
import { instanceAt, reveal, viewChanged, viewer } from "./viewer.js";

const MOVED = 4;  // CSS pixels: a pointer that moves farther doesn't select
const PACE = 60;  // CSS pixels for an arrow key
const pointers = new Map();  // from an id to {x, y}: the pointers that are down
let start = null;  // {x, y, moved}: where the first of them went down

export function startGestures() {
  const canvas = byId("canvas");
  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("wheel", wheel, { passive: false });
  canvas.addEventListener("keydown", key);
  byId("zoom-in").addEventListener("click", zoomIn);
  byId("zoom-out").addEventListener("click", () => changeView("zoomOut"));
  byId("show-all").addEventListener("click", () => changeView("showAll"));
}

function changeView(change, ...values) {
  if (!viewer.view) return;
  viewer.view[change](...values);
  viewChanged();
}

// What is selected stays in sight.
function zoomIn() {
  changeView("zoomIn");
  if (state.selected) reveal(state.selected);
}

function placeOf(event) {
  const { left, top } = byId("canvas").getBoundingClientRect();
  return { x: event.clientX - left, y: event.clientY - top };
}

function down(event) {
  if (event.button !== 0) return;
  const place = placeOf(event);
  if (!pointers.size) start = { ...place, moved: false };
  else start.moved = true;  // two fingers don't select
  pointers.set(event.pointerId, place);
  event.target.setPointerCapture(event.pointerId);
}

function move(event) {
  const before = pointers.get(event.pointerId), place = placeOf(event);
  if (!before) {
    if (event.pointerType === "mouse") hover(instanceAt(event));
    return;
  }
  pointers.set(event.pointerId, place);
  const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, each]) => each);
  if (others.length) pinch(before, place, others[0]);
  else if (start.moved || Math.hypot(place.x - start.x, place.y - start.y) > MOVED) {
    start.moved = true;
    changeView("move", place.x - before.x, place.y - before.y);
  }
}

// One of two fingers moves.
function pinch(before, place, other) {
  const distance = Math.hypot(before.x - other.x, before.y - other.y);
  if (distance < 1) return;
  changeView("zoom", Math.hypot(place.x - other.x, place.y - other.y) / distance, (place.x + other.x) / 2, (place.y + other.y) / 2);
  changeView("move", (place.x - before.x) / 2, (place.y - before.y) / 2);
}

function up(event) {
  if (!pointers.delete(event.pointerId) || start.moved) return;
  const instance = instanceAt(event);
  select(instance === state.selected ? null : instance);
}

// A wheel turns in lines or pages where it doesn't turn in pixels. A pinch on a touch pad is a wheel with Ctrl.
function wheel(event) {
  if (!viewer.view || (viewer.view.isWhole && event.deltaY > 0)) return;  // the window may scroll
  event.preventDefault();
  const pixels = event.deltaY * [1, 16, 400][event.deltaMode];
  const { x, y } = placeOf(event);
  changeView("zoom", Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0015)), x, y);
}

const KEYS = {
  "+": zoomIn,
  "=": zoomIn,  // the key of + without Shift
  "-": () => changeView("zoomOut"),
  0: () => changeView("showAll"),
  Escape: () => select(null),
  ArrowRight: () => selectNext(1),
  ArrowDown: () => selectNext(1),
  ArrowLeft: () => selectNext(-1),
  ArrowUp: () => selectNext(-1),
};
const MOVES = { ArrowRight: [-PACE, 0], ArrowLeft: [PACE, 0], ArrowDown: [0, -PACE], ArrowUp: [0, PACE] };

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.shiftKey && MOVES[event.key]) changeView("move", ...MOVES[event.key]);
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
}
