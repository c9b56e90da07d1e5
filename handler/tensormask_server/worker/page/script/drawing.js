// Draws an image with its masks, outlines, boxes and labels.

import { cssOf, textOn } from "./colours.js";
import { placedLabels } from "./labels.js";
import { highlighted, state, visibleInstances } from "./state.js";

const FONT = 12;  // CSS pixels
const LABEL_HEIGHT = 17;
const FAINT = 0.35;  // of the opacity: masks beside the highlighted one

// Draws what is visible of state.shown, as the toggles say.
//
// view: {left, top, scale}: the pixel of the image at the canvas' upper left corner, and pixels of the canvas for one
// of the image. layers: for this view. ratio: pixels of the canvas for a CSS pixel. strength: 0…1, while masks fade in.
export function drawResult(context, view, layers, { ratio = 1, strength = 1 } = {}) {
  const { shown } = state;
  drawPicture(context, shown, view);
  context.globalAlpha = strength;
  const instances = visibleInstances().reverse();  // the best score is drawn last, above the others
  for (const instance of instances) drawMask(context, instance, view, layers, strength);
  const one = highlighted();
  const framed = one ? [one] : instances;
  context.globalAlpha = strength;
  if (state.boxes || one) for (const instance of framed) drawBox(context, instance, view, ratio);
  if (state.labels || one) drawLabels(context, [...framed].reverse(), view, ratio);
  context.globalAlpha = 1;
}

// The image alone, white where it is transparent, so that the display shows what the server sees.
export function drawPicture(context, { picture, width, height }, { left, top, scale }) {
  context.globalAlpha = 1;
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  context.fillStyle = "#fff";
  context.fillRect(-left * scale, -top * scale, width * scale, height * scale);
  context.imageSmoothingEnabled = (scale * width) / picture.width < 4;  // enlarged much, pixels are squares
  picture.draw(context, -left * scale, -top * scale, width * scale, height * scale);
  context.imageSmoothingEnabled = true;
}

function drawMask(context, instance, view, layers, strength) {
  const one = highlighted();
  context.globalAlpha = strength * (!one ? state.opacity : instance === one ? Math.max(state.opacity, 0.5) : FAINT * state.opacity);
  drawLayer(context, layers.layerOf(instance, "mask"), view);
  if (!state.outlines && instance !== one) return;
  context.globalAlpha = strength * (!one || instance === one ? 1 : FAINT);
  drawLayer(context, layers.layerOf(instance, "outline"), view);
}

function drawLayer(context, layer, { left, top, scale }) {
  if (!layer) return;
  const place = [(layer.left - left) * scale, (layer.top - top) * scale, (layer.right - layer.left) * scale, (layer.bottom - layer.top) * scale];
  context.drawImage(layer.canvas, ...place);
}

function drawBox(context, instance, view, ratio) {
  const { left, top, right, bottom } = boxOn(instance, view);
  context.lineWidth = 2 * ratio;
  context.strokeStyle = cssOf(instance.colour);
  context.strokeRect(left, top, right - left, bottom - top);
}

function drawLabels(context, instances, view, ratio) {
  context.font = `${FONT * ratio}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const display = context.canvas;
  const labels = instances
    .map((instance) => ({ instance, box: boxOn(instance, view), text: shortened(context, labelText(instance), display.width / 2) }))
    .filter(({ box }) => box.right > 0 && box.bottom > 0 && box.left < display.width && box.top < display.height)
    .map((label) => ({ ...label, width: context.measureText(label.text).width + 8 * ratio }));
  placedLabels(labels, LABEL_HEIGHT * ratio, display).forEach((place, index) => {
    if (!place) return;
    context.fillStyle = cssOf(labels[index].instance.colour);
    context.fillRect(place.left, place.top, place.right - place.left, place.bottom - place.top);
    context.fillStyle = textOn(labels[index].instance.colour);
    context.fillText(labels[index].text, place.left + 4 * ratio, (place.top + place.bottom) / 2);
  });
}

const labelText = (instance) => `${instance.category_name} ${instance.score.toFixed(2)}`;

function shortened(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let length = Math.floor((text.length * width) / context.measureText(text).width);
  while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > width) length--;
  return `${text.slice(0, length)}…`;
}

function boxOn({ bbox: [x, y, width, height] }, { left, top, scale }) {
  return { left: (x - left) * scale, top: (y - top) * scale, right: (x + width - left) * scale, bottom: (y + height - top) * scale };
}
