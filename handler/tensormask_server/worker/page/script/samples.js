// The model's sample images. The first one is shown with the server's answer to it until an image is sent.

import { byId, element } from "./elements.js";
import { send, showAnswer } from "./requests.js";
import { server } from "./server.js";
import { on, state } from "./state.js";

const buttons = new Map();  // from the samples' files

export function startSamples() {
  byId("samples").hidden = server.samples.length === 0;
  const list = byId("samples").querySelector("ul");
  for (const sample of server.samples) {
    const file = fileOf(sample);
    const image = element("img", { src: `data:${sample.type};base64,${sample.content}`, alt: "" });
    const button = element("button", { type: "button", "aria-pressed": "false" }, image, sample.caption);
    button.addEventListener("click", () => send(file));
    buttons.set(file, button);
    list.append(element("li", {}, button));
  }
  for (const event of ["pending", "result", "failed"]) on(event, press);
  const [first] = buttons.keys();
  if (server.answer) showAnswer(first, server.answer);
}

// the sample that is shown, or waits for its response
function press() {
  const file = (state.pending ?? state.shown)?.file;
  for (const [sample, button] of buttons) button.setAttribute("aria-pressed", sample === file);
}

function fileOf(sample) {
  const bytes = Uint8Array.from(atob(sample.content), (letter) => letter.charCodeAt(0));
  return new File([bytes], sample.name, { type: sample.type });
}
