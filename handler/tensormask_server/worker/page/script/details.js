// The highlighted instance: its class, score, area, and a cut-out.

import { byId, element } from "./elements.js";
import { rectangleOf } from "./instances.js";
import { sampledMask } from "./masks.js";
import { highlighted, on, state } from "./state.js";

const SIDE = 160;  // CSS pixels of the cut-out's longer side

export function startDetails() {
  for (const event of ["result", "selection"]) on(event, show);
  show();
}

function show() {
  const instance = highlighted();
  const hint = state.shown?.instances.length ? "Point at an instance, tap it, or use the arrow keys on the image." : "";
  byId("details").replaceChildren(...(instance ? [cutOut(instance), factsOf(instance)] : [element("p", {}, hint)]));
}

function factsOf(instance) {
  const { width, height } = state.shown;
  const percent = (100 * instance.area) / (width * height);
  const facts = {
    Class: instance.category_name,
    Score: instance.score.toFixed(2),
    Area: `${Math.round(instance.area).toLocaleString("en")} px, ${percent < 0.1 ? "less than 0.1" : percent.toFixed(1)} % of the image`,
  };
  return element("dl", {}, ...Object.entries(facts).flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]));
}

// The instance alone, as large as there is room.
function cutOut(instance) {
  const { picture, width, height } = state.shown;
  const place = rectangleOf(instance, { width, height });
  const [across, down] = [Math.max(place.right - place.left, 1), Math.max(place.bottom - place.top, 1)];
  const ratio = (SIDE / Math.max(across, down)) * (devicePixelRatio || 1);
  const canvas = element("canvas", { width: Math.max(Math.round(across * ratio), 1), height: Math.max(Math.round(down * ratio), 1), role: "img", "aria-label": `A cut-out of the ${instance.category_name}` });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  const [x, y] = [picture.source.width / width, picture.source.height / height];  // the response may be about a smaller image
  if (instance.mask()) {
    context.putImageData(alphaOf(sampledMask(instance.mask(), place, canvas.width, canvas.height), canvas), 0, 0);
    context.globalCompositeOperation = "source-in";
  }
  context.drawImage(picture.source, place.left * x, place.top * y, across * x, down * y, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function alphaOf(cells, { width, height }) {
  const image = new ImageData(width, height);
  for (let i = 0; i < cells.length; i++) image.data[4 * i + 3] = 255 * cells[i];
  return image;
}
