// Tabs with the request for what is shown, in the format of the download: as curl, Python and JavaScript.

import { curlCommand, javascriptProgram, pythonProgram } from "./commands.js";
import { chosenFormat } from "./downloads.js";
import { byId } from "./elements.js";
import { on, state } from "./state.js";
import { isOnDisk, requestFor, save, sentName } from "./take.js";

const WRITERS = { curl: curlCommand, python: pythonProgram, javascript: javascriptProgram };
const NAMES = Object.keys(WRITERS);
let open = NAMES[0];

export function startExamples() {
  for (const name of NAMES) {
    byId(`tab-${name}`).addEventListener("click", () => choose(name));
    byId(`tab-${name}`).addEventListener("keydown", step);
  }
  byId("copy").addEventListener("click", copy);
  byId("save-sent").addEventListener("click", () => save(state.shown.body, sentName(state.shown)));
  byId("format").addEventListener("change", show);
  for (const event of ["result", "view"]) on(event, show);
  choose(open);
}

function choose(chosen) {
  open = chosen;
  for (const name of NAMES) {
    byId(`tab-${name}`).setAttribute("aria-selected", name === chosen);
    byId(`tab-${name}`).tabIndex = name === chosen ? 0 : -1;
    byId(`panel-${name}`).hidden = name !== chosen;
  }
}

function step(event) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -NAMES.indexOf(open), End: NAMES.length - 1 - NAMES.indexOf(open) };
  if (!(event.key in steps)) return;
  event.preventDefault();
  choose(NAMES[(NAMES.indexOf(open) + steps[event.key] + NAMES.length) % NAMES.length]);
  byId(`tab-${open}`).focus();
}

function show() {
  if (!state.shown) return;
  const request = requestFor(chosenFormat());
  for (const name of NAMES) byId(name).textContent = WRITERS[name](request);
  byId("sent").hidden = isOnDisk(state.shown);
  byId("sent-name").textContent = request.file;
}

async function copy() {
  try {
    await navigator.clipboard.writeText(byId(open).textContent);
    byId("copy").textContent = "Copied";
  } catch {  // many browsers forbid it to a page of plain HTTP
    getSelection().selectAllChildren(byId(open));
    byId("copy").textContent = "Selected: press Ctrl-C";
  }
  setTimeout(() => { byId("copy").textContent = "Copy"; }, 2000);
}
