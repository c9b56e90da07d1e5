// Where images come from: a picked file, a drop, a paste.

import { byId } from "./elements.js";
import { send } from "./requests.js";
import { setStatus } from "./status.js";

export const onDisk = new WeakSet();  // the files that the user has under their names: picked or dropped ones

export function startIntake() {
  byId("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";  // otherwise the same file, picked again, would be no change
    if (file) {
      onDisk.add(file);
      sendUnlessEmpty(file);
    }
  });
  document.addEventListener("paste", pasted);
  document.addEventListener("dragover", (event) => { event.preventDefault(); byId("drop").classList.add("over"); });
  document.addEventListener("dragleave", () => byId("drop").classList.remove("over"));
  document.addEventListener("drop", dropped);
}

function sendUnlessEmpty(file) {
  if (file.size) send(file);
  else setStatus(`${file.name} is empty. Choose another file.`, true);
}

function dropped(event) {
  event.preventDefault();
  byId("drop").classList.remove("over");
  const entry = event.dataTransfer.items[0]?.webkitGetAsEntry?.();
  const file = imageAmong(event.dataTransfer.files);
  if (entry?.isDirectory) setStatus("This is a folder. Drop one image file of it.", true);
  else if (file) {
    if (!event.dataTransfer.types.includes("text/html")) onDisk.add(file);  // an image of another page has HTML with it
    sendUnlessEmpty(file);
  } else setStatus(textForDropped(event.dataTransfer.files[0]), true);
}

function textForDropped(file) {
  return file
    ? `${file.name} is no image: its type is ${file.type}. Drop an image, such as a JPEG or a PNG.`
    : "This isn't a file. Save the image first, and drop the file, or copy the image and paste it here.";
}

function pasted(event) {
  if (event.target.matches?.("[type=search], [type=number]")) return;  // text for that field
  const file = imageAmong(event.clipboardData.files);
  event.preventDefault();
  if (file) sendUnlessEmpty(file);
  else setStatus("The clipboard holds no image. Copy an image, and paste it again.", true);
}

// The first file that may be an image. Browsers don't know the types of all files that the server reads.
const imageAmong = (files) => [...files].find((file) => file.type.startsWith("image/") || file.type === "");
