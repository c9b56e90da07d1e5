// One image to the server, and its response to state.shown.

import { failureText, UNREACHABLE } from "./failures.js";
import { prepared } from "./instances.js";
import { sentImage } from "./sent_image.js";
import { server } from "./server.js";
import { emit, select, state } from "./state.js";
import { setStatus } from "./status.js";

let latest = 0;  // only the newest request may be shown

// Sends an image with the options of state.options.
export const send = (file) => request(file);

// Shows an image with a response that is already here.
export async function showAnswer(file, content) {
  const mine = ++latest;
  const bitmap = await createImageBitmap(file);
  if (mine !== latest) return;
  const { width, height } = content;
  state.shown = { file, name: file.name, bitmap, body: file, options: {}, width, height, instances: content.instances.map(prepared) };
  emit("result");
  setStatus(`A sample of this model, with what it finds: ${width}×${height} pixels`);
}

// Sends the image that is shown again, with the options of state.options.
export const sendAgain = () => request(state.shown.file);

async function request(file) {
  const mine = ++latest;
  state.pending = { file, name: file.name || "image.png" };
  emit("pending");
  setStatus(`Sending ${file.name || "the image"} …`);
  const started = performance.now();
  const options = { ...state.options };
  try {
    const own = await createImageBitmap(file).catch(() => null);
    const sent = own ? await sentImage(file, own) : { body: file, note: "Decoded by the server: " };
    const response = await post(sent.body, { Accept: "application/json", "Score-Threshold": server.lowestScore, ...options });
    const content = await response.json();
    if (mine !== latest) return;
    const bitmap = own || await decodedByServer(file);
    if (mine !== latest) return;
    const { width, height } = content;
    const instances = content.instances.map(prepared);
    state.shown = { ...state.pending, bitmap, body: sent.body, options, width, height, instances };
    state.pending = null;
    select(null);
    emit("result");
    const seconds = ((performance.now() - started) / 1000).toFixed(2);
    const notes = (content.notes || []).map((note) => `. Note: ${note}`).join("");
    setStatus(`${sent.note}${width}×${height} pixels in ${seconds} s: ${timing(response)}${notes}`);
  } catch (error) {
    if (mine !== latest) return;
    state.pending = null;
    emit("failed");
    setStatus(error.message, true);
  }
}

// Sends an image file with the options in these headers. An error's message is for the user.
export async function post(body, headers) {
  let response;
  try {
    response = await fetch(server.path, { method: "POST", body, headers: { "Content-Type": "application/octet-stream", ...headers } });
  } catch {
    throw new Error(UNREACHABLE);
  }
  if (!response.ok) throw new Error(failureText(response.status, await response.text()));
  return response;
}

// the image alone, for a file that this browser can't show: no score is above 1
async function decodedByServer(file) {
  const response = await post(file, { Accept: "image/png", "Score-Threshold": 1 });
  return createImageBitmap(await response.blob());
}

function timing(response) {
  const parts = (response.headers.get("Server-Timing") || "").split(", ").map((part) => part.split(";dur="));
  return parts.filter((part) => part.length === 2).map(([name, time]) => `${name} ${Math.round(time)} ms`).join(", ");
}
