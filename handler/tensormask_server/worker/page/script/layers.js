// Layers: an instance's mask, or its outline, in its colour, at the size at which it is drawn.

import { edgesOf, sampledMask } from "./masks.js";

const MOST_PIXELS = 1 << 23;  // of all layers of a view together: 4 bytes each

// The layers of the instances for one view: a part of the image and a scale. Each is made when it is first drawn.
export class Layers {
  // part: {left, top, right, bottom} of the image; scale: pixels of the display for one of the image
  constructor(part, scale) {
    this.part = part;
    this.scale = scale;
    this.pixels = 0;
    this.made = new Map();  // from an instance's number and the kind
  }

  // {canvas, left, top, right, bottom}: where the layer lies on the image; null where there is nothing to draw.
  layerOf(instance, kind) {
    const key = `${kind} ${instance.number}`;
    if (!this.made.has(key)) this.made.set(key, this.makeLayer(instance, kind));
    return this.made.get(key);
  }

  makeLayer(instance, kind) {
    const mask = instance.mask();
    if (!mask) return null;
    const place = intersection(mask, this.part);
    if (!place) return null;
    // those that come late get what is left: they are coarser, and the memory has a bound
    const wanted = (place.right - place.left) * (place.bottom - place.top) * this.scale ** 2;
    const scale = this.scale * Math.min(1, Math.sqrt(Math.max(MOST_PIXELS - this.pixels, MOST_PIXELS / 64) / wanted));
    const columns = Math.max(Math.round((place.right - place.left) * scale), 1);
    const rows = Math.max(Math.round((place.bottom - place.top) * scale), 1);
    this.pixels += columns * rows;
    const cells = sampledMask(mask, place, columns, rows);
    return { canvas: filled(kind === "outline" ? edgesOf(cells, columns, rows) : cells, columns, rows, instance.colour), ...place };
  }
}

function filled(cells, columns, rows, [red, green, blue]) {
  const canvas = new OffscreenCanvas(columns, rows);
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);  // the bytes are red, green, blue, alpha: little-endian
  const colour = (255 << 24) | (blue << 16) | (green << 8) | red;
  for (let i = 0; i < cells.length; i++) if (cells[i]) pixels[i] = colour;
  context.putImageData(image, 0, 0);
  return canvas;
}

function intersection(one, other) {
  const left = Math.max(one.left, Math.floor(other.left)), right = Math.min(one.right, Math.ceil(other.right));
  const top = Math.max(one.top, Math.floor(other.top)), bottom = Math.min(one.bottom, Math.ceil(other.bottom));
  return left < right && top < bottom ? { left, top, right, bottom } : null;
}
