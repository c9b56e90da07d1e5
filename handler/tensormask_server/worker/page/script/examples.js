// The request for what is shown, as a command.

import { byId } from "./elements.js";
import { server } from "./server.js";
import { on, state } from "./state.js";

export function startExamples() {
  byId("copy").addEventListener("click", copy);
  for (const event of ["result", "view"]) on(event, show);
}

function show() {
  if (state.shown) byId("curl").textContent = curlCommand();
}

function curlCommand() {
  const { name, options } = state.shown;
  const words = ["-T", fileForCurl(name), "-H", `Score-Threshold: ${state.threshold.toFixed(2)}`,
    ...Object.entries(options).flatMap(([option, value]) => ["-H", `${option}: ${value}`]), location.origin + server.path];
  // without -g curl reads brackets and braces in a file's name as a pattern for several files
  if (/[[\]{}]/.test(name)) words.unshift("-g");
  return ["curl", ...words.map(quoted)].join(" ");
}

// curl reads - and . as its standard input
const fileForCurl = (name) => (/^[-.]/.test(name) ? `./${name}` : name);

// Quotes a word for a POSIX shell. Control characters go: a terminal obeys them in a pasted command, even in quotes.
function quoted(word) {
  const harmless = word.replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/g, "_");
  return /^[\w:=/.-]+$/.test(harmless) ? harmless : `'${harmless.replaceAll("'", "'\\''")}'`;
}

async function copy() {
  try {
    await navigator.clipboard.writeText(byId("curl").textContent);
    byId("copy").textContent = "Copied";
  } catch {  // many browsers forbid it to a page of plain HTTP
    getSelection().selectAllChildren(byId("curl"));
    byId("copy").textContent = "Selected: press Ctrl-C";
  }
  setTimeout(() => { byId("copy").textContent = "Copy"; }, 2000);
}
