// Where images come from: a picked file, a drop, a paste, the sample.

import { byId } from "./elements.js";
import { send } from "./requests.js";
import { server } from "./server.js";
import { setStatus } from "./status.js";

export function startIntake() {
  byId("file").addEventListener("change", (event) => { if (event.target.files[0]) send(event.target.files[0]); });
  byId("sample").addEventListener("click", () => send(sampleFile()));
  document.addEventListener("paste", (event) => takeFrom(event.clipboardData, event));
  document.addEventListener("dragover", (event) => { event.preventDefault(); byId("drop").classList.add("over"); });
  document.addEventListener("dragleave", () => byId("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    byId("drop").classList.remove("over");
    takeFrom(event.dataTransfer, event);
  });
}

function takeFrom(transfer, event) {
  // browsers don't know the type of all files that the server reads
  const file = [...transfer.files].find((each) => each.type.startsWith("image/") || /\.(tiff?|btf|tf8|avif|hei[cf]|hif)$/i.test(each.name));
  if (!file) { if (event.type === "drop") setStatus("This file isn't an image.", true); }
  else send(file);
  event.preventDefault();
}

function sampleFile() {
  const bytes = Uint8Array.from(atob(server.sample), (letter) => letter.charCodeAt(0));
  return new File([bytes], "sample.jpg", { type: "image/jpeg" });
}
