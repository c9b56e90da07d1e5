// The display: a canvas with the image and its masks, which can be zoomed and moved.

import { drawPicture, drawResult } from "./drawing.js";
import { byId } from "./elements.js";
import { rectangleOf } from "./instances.js";
import { Layers } from "./layers.js";
import { hasPixel } from "./masks.js";
import { on, state, visibleInstances } from "./state.js";
import { View } from "./view.js";

const HIGHEST = 0.75;  // of the window's height
const NARROWEST = 160;  // CSS pixels
const FADE = 300;  // milliseconds
const SETTLED = 150;  // milliseconds without a change, until layers are made for a part of the image

// Of the image on the display. `view` is null before the first image.
export const viewer = { view: null, ratio: 1 };
const still = matchMedia("(prefers-reduced-motion: reduce)");
let layers = null;  // of the whole image
let detail = null;  // of the part that is seen, where the image is enlarged
let fadingSince = 0;
let frame = 0, timer = 0;
let stageWidth = 0;  // at which the display was laid out

export function startViewer() {
  on("pending", showPending);
  on("failed", fitAgain);
  on("result", () => {
    fadingSince = still.matches ? -FADE : performance.now();
    fitAgain();
  });
  on("view", redraw);
  on("selection", () => {
    if (state.selected && !state.hovered) reveal(state.selected);
    redraw();
  });
  new ResizeObserver(() => { if (viewer.view && isResized()) fitAgain(); }).observe(byId("stage"));
}

// Draws in the next frame; what changes before is drawn together.
function redraw() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    draw();
  });
}

// After a change of viewer.view.
export function viewChanged() {
  redraw();
  byId("stage").classList.toggle("enlarged", !viewer.view.isWhole);
  clearTimeout(timer);
  detail = null;
  if (!viewer.view.isWhole) timer = setTimeout(makeDetail, SETTLED);
}

// The visible instance at a place of the window: the one with the highest score.
export function instanceAt({ clientX, clientY }) {
  if (!state.shown || state.pending) return null;
  const place = byId("canvas").getBoundingClientRect();
  const { left, top, scale } = viewer.view;
  const x = Math.floor((clientX - place.left) / scale + left), y = Math.floor((clientY - place.top) / scale + top);
  return visibleInstances().find((each) => (each.mask() ? hasPixel(each.mask(), x, y) : isIn(each.bbox, x, y))) ?? null;
}

const isIn = ([left, top, width, height], x, y) => x >= left && y >= top && x < left + width && y < top + height;

function showPending() {
  if (state.pending.picture) fitAgain();
  else byId("spinner").hidden = false;
}

// What is on the display: {picture, width, height}.
const displayed = () => (state.pending?.picture ? { ...state.pending, ...sizeOf(state.pending.picture) } : state.shown);
const sizeOf = ({ width, height }) => ({ width, height });

// Shows the whole image, as large as there is room.
function fitAgain() {
  const image = displayed();
  byId("result").hidden = !image;
  byId("side").hidden = !state.shown;
  byId("spinner").hidden = !state.pending;
  byId("result").classList.toggle("of-other-image", Boolean(state.pending?.picture) && state.pending.picture !== state.shown?.picture);
  if (!image) return;
  stageWidth = byId("stage").clientWidth;
  const display = displayFor(image);
  viewer.ratio = devicePixelRatio || 1;
  viewer.view = new View(image.width, image.height, display);
  const canvas = byId("canvas");
  canvas.width = Math.round(display.width * viewer.ratio);
  canvas.height = Math.round(display.height * viewer.ratio);
  canvas.style.width = `${display.width}px`;
  canvas.style.height = `${display.height}px`;
  layers = new Layers({ left: 0, top: 0, right: image.width, bottom: image.height }, viewer.view.scale * viewer.ratio);
  viewChanged();
  draw();  // at once: a canvas of a new size is empty
}

// As large as there is room. A very narrow image has more room than it fills.
function displayFor({ width, height }) {
  const room = { width: byId("stage").clientWidth, height: Math.round(HIGHEST * innerHeight) };
  const scale = Math.min(room.width / width, room.height / height);
  const side = (length, most) => Math.min(Math.max(Math.round(scale * length), NARROWEST), most);
  return { width: side(width, room.width), height: side(height, room.height) };
}

const isResized = () => byId("stage").clientWidth !== stageWidth;

function draw() {
  const image = displayed();
  if (!image || !viewer.view) return;
  const context = byId("canvas").getContext("2d");
  const part = viewer.view.part(viewer.ratio);
  const strength = Math.min((performance.now() - fadingSince) / FADE, 1);
  byId("stage").setAttribute("aria-busy", Boolean(state.pending) || strength < 1);
  if (state.pending) return drawPicture(context, image, part);
  drawResult(context, part, detail ?? layers, { ratio: viewer.ratio, strength });
  if (strength < 1) redraw();
}

function makeDetail() {
  const { scale, ...part } = viewer.view.part(viewer.ratio);
  detail = new Layers(part, scale);
  redraw();
}

// Moves the image, if need be, so that an instance is seen.
export function reveal(instance) {
  if (viewer.view.isWhole) return;
  viewer.view.reveal(rectangleOf(instance, state.shown));
  viewChanged();
}
