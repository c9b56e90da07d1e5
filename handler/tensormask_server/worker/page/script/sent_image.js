// The file that is sent for an image: as it is, or what the browser drew of it.

import { server } from "./server.js";

export async function sentImage(file, bitmap) {
  const { width, height } = bitmap;
  const scale = Math.min(1, Math.sqrt(server.maxPixels / (width * height)), server.maxSide / Math.max(width, height));
  if (scale === 1 && !(await mayShowUnturned(file))) return { body: file, note: "" };
  const pixels = document.createElement("canvas");
  pixels.width = Math.max(Math.floor(width * scale), 1);
  pixels.height = Math.max(Math.floor(height * scale), 1);
  pixels.getContext("2d").drawImage(bitmap, 0, 0, pixels.width, pixels.height);
  const body = await new Promise((done) => pixels.toBlob(done, scale === 1 ? "image/png" : "image/jpeg", 0.95));
  return { body, note: scale === 1 ? "" : "Made smaller for this server: " };
}

// The server turns every image by its EXIF. Browsers turn JPEGs so, and not all of them turn WebP and PNG.
async function mayShowUnturned(file) {
  const bytes = new TextDecoder("latin1").decode(await file.arrayBuffer());
  return !bytes.startsWith("\u00ff\u00d8") && /exif/i.test(bytes);
}
