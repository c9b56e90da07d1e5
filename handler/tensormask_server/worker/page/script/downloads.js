// The response to the image that is shown, in a format of choice, as a file.

import { byId } from "./elements.js";
import { post } from "./requests.js";
import { server } from "./server.js";
import { state } from "./state.js";
import { setStatus } from "./status.js";

export function startDownloads() {
  byId("format").replaceChildren(...server.formats.map((file) => new Option(file, file)));
  byId("download").addEventListener("click", download);
}

// Requests the response in the chosen format, with the scores that are shown, and saves it.
async function download() {
  const { body, name, options } = state.shown;
  const file = byId("format").value;
  const [format] = file.split(".");
  setStatus(`Requesting ${file} …`);
  try {
    const response = await post(body, {
      "Score-Threshold": state.threshold, Format: format, "File-Name": headerText(name), ...options,
    });
    save(await response.blob(), name + file.slice(format.length));
    setStatus(`Saved ${name + file.slice(format.length)}`);
  } catch (error) {
    setStatus(error.message, true);
  }
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// A header's value: the text in UTF-8, as one character for each byte, without characters that end a line.
function headerText(text) {
  const bytes = new TextEncoder().encode(text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, "_").slice(0, 1000));
  return String.fromCharCode(...bytes);
}
