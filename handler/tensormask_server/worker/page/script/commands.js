// A request as a command of curl, and as a program in Python and in JavaScript. Each writes the response to a file.

export function curlCommand({ file, output, options, url }) {
  // without -g curl reads brackets and braces in a file's name as a pattern for several files
  const literally = /[[\]{}]/.test(file) ? "-g " : "";
  const headers = Object.entries(options).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`);
  return [
    `curl ${literally}--fail-with-body -T ${quoted(pathOf(file))}`, ...headers, `-o ${quoted(pathOf(output))}`, quoted(url),
  ].join(" \\\n  ");
}

export function pythonProgram({ file, output, options, url }) {
  return [
    "from pathlib import Path",
    "",
    "from tensormask_server.client import Client",
    "",
    `response = Client(${JSON.stringify(url)}).request(`,
    `    ${JSON.stringify(file)},`,
    ...Object.entries(options).map(([name, value]) => `    ${argument(name)}=${pythonValue(name, value)},`),
    ")",
    `Path(${JSON.stringify(output)}).write_bytes(response.body)`,
  ].join("\n");
}

export function javascriptProgram({ file, output, options, url }) {
  return [
    'import { openAsBlob } from "node:fs";',
    'import { writeFile } from "node:fs/promises";',
    "",
    "const form = new FormData();",
    `form.append("data", await openAsBlob(${JSON.stringify(file)}));`,
    ...Object.entries(options).map(([name, value]) => `form.append("${argument(name)}", ${JSON.stringify(String(value))});`),
    `const response = await fetch(${JSON.stringify(url)}, { method: "POST", body: form });`,
    "if (!response.ok) throw new Error(await response.text());",
    `await writeFile(${JSON.stringify(output)}, new Uint8Array(await response.arrayBuffer()));`,
  ].join("\n");
}

// curl reads - and . as its standard input
const pathOf = (name) => (/^[-.]/.test(name) ? `./${name}` : name);

// The option of a header: "Score-Threshold" is score_threshold.
const argument = (header) => header.toLowerCase().replaceAll("-", "_");

const NUMBERS = ["Score-Threshold", "Max-Detections"];
const pythonValue = (name, value) => (NUMBERS.includes(name) ? String(value) : JSON.stringify(String(value)));

// Quotes a word for a POSIX shell.
const quoted = (word) => (/^[\w:=/.-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
