// The instances of a response, with what is drawn of each.

import { coloursOf } from "./colours.js";
import { decodedMask } from "./masks.js";

// Adds to each instance: its number, its colour, and functions that decode what is rarely needed.
export function preparedInstances(instances) {
  const colours = coloursOf(instances);
  return instances.map((instance, number) => ({ ...instance, number, colour: colours[number], mask: once(() => maskOf(instance)) }));
}

// null where the network makes no masks
const maskOf = ({ segmentation }) => (segmentation ? decodedMask(segmentation) : null);

function once(make) {
  let made;
  return () => (made === undefined ? (made = make()) : made);
}

// The rectangle around an instance's mask and box, in pixels of the image and cut at its borders.
export function rectangleOf(instance, { width, height }) {
  const [x, y, across, down] = instance.bbox;
  const mask = instance.mask();
  const borders = mask?.right ? mask : { left: Infinity, top: Infinity, right: 0, bottom: 0 };
  return {
    left: Math.max(Math.floor(Math.min(x, borders.left)), 0),
    top: Math.max(Math.floor(Math.min(y, borders.top)), 0),
    right: Math.min(Math.ceil(Math.max(x + across, borders.right)), width),
    bottom: Math.min(Math.ceil(Math.max(y + down, borders.bottom)), height),
  };
}
