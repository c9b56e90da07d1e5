// What is on the screen as a request: its file, its options and the file of its response, for the download and the commands.

import { classesOption } from "./classes.js";
import { onDisk } from "./intake.js";
import { server } from "./server.js";
import { state, visibleInstances } from "./state.js";

const REPEATING_NAME = ["coco", "csv", "polygons"];  // formats that repeat the option file_name
const LONGEST_NAME = 1000;  // characters of that option

// The request whose response, in this format, has what is on the screen.
export function requestFor(format) {
  const { shown } = state;
  const file = sentName(shown);
  const options = { Format: format.name, "Score-Threshold": thresholdText(), ...shown.options, ...visibleClasses() };
  if (REPEATING_NAME.includes(format.name)) options["File-Name"] = inOneLine(file);
  return { file, output: file + format.suffix, options, url: location.origin + server.path };
}

// With two digits, as it is shown, unless the server's own default has more.
function thresholdText() {
  const text = state.threshold.toFixed(2);
  return Number(text) === state.threshold ? text : String(state.threshold);
}

// Instances of some classes are hidden by the legend: the others are requested, and as many as are visible.
function visibleClasses() {
  if (!state.hidden.size) return {};
  const instances = visibleInstances();
  const names = new Set(instances.map((each) => each.category_name));
  const indices = [...server.classes.keys()].filter((index) => names.has(server.classes[index]));
  return { "Max-Detections": instances.length, ...(indices.length ? { Classes: classesOption(indices) } : {}) };
}

// Whether the user has the file that was sent: it is neither a sample, nor a paste, nor drawn by the page.
export const isOnDisk = (shown) => shown.body === shown.file && onDisk.has(shown.file);

// The name of the file that was sent. What isn't on the user's disk is saved under it.
export function sentName(shown) {
  if (isOnDisk(shown)) return harmless(shown.file.name);
  const stem = shown.name.replace(/\.\w+$/, "").replace(/[^\p{L}\p{N}_.-]+/gu, "_").replace(/^[.-]+/, "") || "image";
  const suffix = { "image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp" }[shown.body.type] ?? shown.name.match(/\.\w+$/)?.[0] ?? "";
  return `${stem}${shown.body === shown.file ? "" : "-sent"}${suffix}`;
}

// Without control characters but line feeds: a terminal obeys them in a pasted command, even in quotes.
const harmless = (name) => name.replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/g, "_");
const inOneLine = (name) => name.replace(/[\n\u2028\u2029]/g, "_").slice(0, LONGEST_NAME);

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
