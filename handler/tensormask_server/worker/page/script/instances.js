// An instance of a response with what is drawn of it: a colour, a mask and a layer.

import { decodedMask } from "./run_lengths.js";

export function prepared(instance, index) {
  const colour = `hsl(${(index * 222.49) % 360} 90% 62%)`;
  const [height, width] = instance.segmentation ? instance.segmentation.size : [0, 0];
  const mask = instance.segmentation ? decodedMask(instance.segmentation.counts, height * width) : null;
  const area = mask ? mask.reduce((sum, on) => sum + on, 0) : Math.round(instance.bbox[2] * instance.bbox[3]);
  return { ...instance, colour, mask, area, layer: mask ? layerOf(mask, height, width, colour) : null };
}

function layerOf(mask, height, width, colour) {
  const layer = document.createElement("canvas");
  layer.width = width;
  layer.height = height;
  const context = layer.getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  const image = context.createImageData(width, height);
  for (let x = 0, i = 0; x < width; x++) {
    for (let y = 0; y < height; y++, i++) {
      if (mask[i]) image.data.set([red, green, blue, 255], 4 * (y * width + x));
    }
  }
  context.putImageData(image, 0, 0);
  return layer;
}
