// The response to the image that is shown, in a format of choice, as a file.

import { byId } from "./elements.js";
import { post } from "./requests.js";
import { server } from "./server.js";
import { state } from "./state.js";
import { setStatus } from "./status.js";
import { requestFor, save } from "./take.js";

// what people call the formats; those that most people want come first
const TEXTS = {
  png: "Image (PNG)",
  coco: "COCO (JSON)",
  polygons: "LabelMe (JSON)",
  csv: "Measures (CSV)",
  cutouts: "Cut-outs (zip)",
  labelmap: "Label map (PNG)",
  npz: "NumPy (npz)",
  torch: "PyTorch (gzip)",
};

export function startDownloads() {
  const place = ({ name }) => [...Object.keys(TEXTS), name].indexOf(name);
  const formats = [...server.formats].sort((one, other) => place(one) - place(other));
  byId("format").replaceChildren(...formats.map(({ name }) => new Option(TEXTS[name] ?? name, name)));
  byId("download").addEventListener("click", download);
}

export const chosenFormat = () => server.formats.find(({ name }) => name === byId("format").value);

// Requests the response in the chosen format, with the instances that are visible, and saves it.
async function download() {
  const { body } = state.shown;
  const { options, output } = requestFor(chosenFormat());
  setStatus(`Requesting ${output} …`);
  try {
    const headers = Object.entries(options).map(([name, value]) => [name, headerText(String(value))]);
    const response = await post(body, Object.fromEntries(headers));
    save(await response.blob(), output);
    setStatus(`Saved ${output}`);
  } catch (error) {
    setStatus(error.message, true);
  }
}

// A header's value: the text in UTF-8, as one character for each byte.
function headerText(text) {
  const bytes = new TextEncoder().encode(text);
  return String.fromCharCode(...bytes);
}
