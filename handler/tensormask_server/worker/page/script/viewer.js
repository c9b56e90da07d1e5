// The image with its masks, boxes and labels.

import { byId } from "./elements.js";
import { on, select, state, visibleInstances } from "./state.js";

const MASK_OPACITY = 0.5;

export function startViewer() {
  const canvas = byId("canvas");
  canvas.addEventListener("pointermove", (event) => select(instanceAt(event)));
  canvas.addEventListener("pointerdown", (event) => select(instanceAt(event)));
  canvas.addEventListener("pointerleave", () => select(null));
  for (const event of ["result", "view", "selection"]) on(event, draw);
}

function draw() {
  const { shown, selected } = state;
  if (!shown) return;
  const canvas = byId("canvas");
  canvas.width = shown.width;
  canvas.height = shown.height;
  const context = canvas.getContext("2d");
  context.drawImage(shown.bitmap, 0, 0, shown.width, shown.height);
  for (const instance of visibleInstances().reverse()) {
    if (!instance.layer) continue;
    context.globalAlpha = !selected ? MASK_OPACITY : instance === selected ? 0.75 : 0.12;
    context.drawImage(instance.layer, 0, 0);
  }
  context.globalAlpha = 1;
  const size = Math.max(12, Math.round(Math.min(shown.width, shown.height) / 32));
  context.font = `${size}px system-ui, sans-serif`;
  context.lineWidth = Math.max(1, size / 8);
  for (const instance of (selected ? [selected] : visibleInstances()).slice().reverse()) {
    const [x, y, width, height] = instance.bbox;
    context.strokeStyle = context.fillStyle = instance.colour;
    context.strokeRect(x, y, width, height);
    const text = selected ? `${instance.category_name} ${instance.score.toFixed(2)}, ${instance.area} px` : instance.category_name;
    const left = Math.max(0, Math.min(x, shown.width - context.measureText(text).width - 6));
    const top = Math.max(0, y - 1.3 * size);
    context.fillRect(left, top, context.measureText(text).width + 6, 1.3 * size);
    context.fillStyle = "#000";
    context.fillText(text, left + 3, top + size);
  }
}

function instanceAt(event) {
  if (!state.shown) return null;
  const { width, height } = state.shown;
  const place = byId("canvas").getBoundingClientRect();
  const x = Math.floor((event.clientX - place.left) * width / place.width);
  const y = Math.floor((event.clientY - place.top) * height / place.height);
  return visibleInstances().find((each) => each.mask && each.mask[x * height + y]) || null;
}
