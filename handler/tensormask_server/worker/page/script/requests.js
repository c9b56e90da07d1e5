// One image to the server, and its response to state.shown.

import { countText } from "./controls.js";
import { byId } from "./elements.js";
import { failureText, NOT_OURS, UNREACHABLE } from "./failures.js";
import { preparedInstances } from "./instances.js";
import { decodedPicture } from "./picture.js";
import { sentImage } from "./sent_image.js";
import { server } from "./server.js";
import { emit, on, select, state, visibleInstances } from "./state.js";
import { setStatus } from "./status.js";

let latest = 0;  // only the newest request may be shown
let failed = null;  // the file of the newest request, if it failed

export function startRequests() {
  byId("retry").addEventListener("click", () => send(failed));
  for (const event of ["pending", "result"]) on(event, () => { byId("retry").hidden = true; });
  on("failed", () => { byId("retry").hidden = false; });
}

// Sends an image with the options of state.options. The image is shown at once.
export async function send(file) {
  const mine = ++latest;
  const isNewest = () => mine === latest;
  const name = file.name || "image.png", options = { ...state.options };
  state.pending = { file, name, picture: state.shown?.file === file ? state.shown.picture : null };
  if (!state.pending.picture) state.shown?.picture.reduce();
  byId("timing").textContent = "";
  emit("pending");
  setStatus(`Sending ${name} …`);
  try {
    const started = performance.now();
    const own = state.pending.picture ?? await decodedPicture(file);
    if (!isNewest()) return;
    if (own) showPending(own);
    const sent = own ? await sentImage(file, own) : { body: file, isSmaller: false };
    if (!isNewest()) return;
    const response = await post(sent.body, { Accept: "application/json", "Score-Threshold": server.lowestScore, ...options });
    const content = await contentOf(response);
    const picture = own ?? await decodedByServer(file);
    if (!isNewest()) return;
    const seconds = (performance.now() - started) / 1000;
    show({ file, name, picture, body: sent.body, options }, content);
    byId("timing").textContent = timingText(content, sent.isSmaller, own, seconds, response);
  } catch (error) {
    if (!isNewest()) return;
    failed = file;
    if (state.pending.picture !== state.shown?.picture) state.pending.picture?.release();
    state.pending = null;
    emit("failed");
    setStatus(`${error.message}${textOnOldResult(file)}`, true);
    if (state.shown) restoreResult(state.shown);
  }
}

async function restoreResult({ picture, file }) {
  await picture.restore(file);
  emit("view");
}

// After a failure the result before it comes back.
const textOnOldResult = (file) => (state.shown && state.shown.file !== file ? ` Below is still the result for ${state.shown.name}.` : "");

// Sends the image that is shown again, with the options of state.options.
export const sendAgain = () => send(state.shown.file);

// Shows an image with a response that is already here.
export async function showAnswer(file, content) {
  const mine = ++latest;
  const picture = await decodedPicture(file);
  if (mine === latest) show({ file, name: file.name, picture, body: file, options: {} }, content);
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

// A proxy may put a page of its own in the place of a response.
async function contentOf(response) {
  const content = await response.json().catch(() => null);
  if (!content?.instances) throw new Error(NOT_OURS);
  return content;
}

function showPending(picture) {
  state.pending.picture = picture;
  emit("pending");
}

function show(request, content) {
  const before = state.shown;
  const { width, height } = content;  // pixels of the image that was sent: those of masks and boxes
  state.shown = { ...request, width, height, most: mostDetections(request.options), instances: preparedInstances(content.instances) };
  state.pending = null;
  state.hidden.clear();  // what was hidden of the image before
  select(null);
  emit("result");
  if (before && before.picture !== request.picture) before.picture.release();
  setStatus(`${countText(visibleInstances().length)} found.`);
}

const mostDetections = (options) => Number(options["Max-Detections"] ?? server.maxDetections);

// the image alone, for a file that this browser can't show: no score is above 1
async function decodedByServer(file) {
  const response = await post(file, { Accept: "image/png", "Score-Threshold": 1 });
  return decodedPicture(await response.blob());
}

function timingText({ width, height, notes = [] }, isSmaller, own, seconds, response) {
  const sent = isSmaller ? "Made smaller for this server: " : own ? "" : "Decoded by the server: ";
  const parts = (response.headers.get("Server-Timing") || "").split(", ").map((part) => part.split(";dur="));
  const times = parts.filter((part) => part.length === 2).map(([name, time]) => `${name} ${Math.round(time)} ms`);
  return `${sent}${width}×${height} pixels in ${seconds.toFixed(2)} s: ${times.join(", ")}${notes.map((note) => `. Note: ${note}`).join("")}`;
}
