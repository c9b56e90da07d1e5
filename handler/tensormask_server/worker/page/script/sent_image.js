// The file that is sent for an image: as it is, or what this browser drew of it.

import { server } from "./server.js";

const HEADER = 1 << 20;  // bytes in which a file says what the page asks for
const LOSSLESS = 1 << 22;  // pixels: a larger image that is drawn becomes a JPEG, because a PNG would take long to send
const START_OF_SCAN = 0xda, PROGRESSIVE = 0xc2;

// picture: as this browser decodes the file.
// Returns {body, isSmaller}. isSmaller: the server takes no image of this size.
export async function sentImage(file, picture) {
  const pixels = picture.width * picture.height;
  const kind = kindOf(new Uint8Array(await file.slice(0, HEADER).arrayBuffer()));
  // beyond maxPixels the server reads an image in parts, and not every file
  const isTaken = pixels <= server.maxPixels ? Math.max(picture.width, picture.height) <= server.maxSide : pixels <= server.largestImage;
  if (isTaken && kind.isPlain && (pixels <= server.maxPixels || kind.isReadInParts)) return { body: file, isSmaller: false };
  const scale = isTaken ? 1 : Math.min(Math.sqrt(server.maxPixels / pixels), server.maxSide / Math.max(picture.width, picture.height));
  return { body: await drawn(picture, scale), isSmaller: scale < 1 };
}

// The image before white. The server may turn or colour a file of this kind otherwise than this browser.
async function drawn(picture, scale) {
  const canvas = new OffscreenCanvas(Math.max(Math.floor(picture.width * scale), 1), Math.max(Math.floor(picture.height * scale), 1));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture.source, 0, 0, canvas.width, canvas.height);
  const type = scale === 1 && canvas.width * canvas.height <= LOSSLESS ? "image/png" : "image/jpeg";
  const blob = await canvas.convertToBlob({ type, quality: 0.95 });
  canvas.width = canvas.height = 0;  // frees its memory at once
  return blob;
}

// Whether server and browser see the same in a file of this kind, and whether the server can read it in parts.
export function kindOf(bytes) {
  const begins = (...values) => values.every((value, index) => bytes[index] === value);
  if (begins(0xff, 0xd8)) return { isPlain: true, isReadInParts: !isProgressive(bytes) };
  // not all browsers turn a PNG by its EXIF, which the server does
  if (begins(0x89, 0x50, 0x4e, 0x47)) return { isPlain: !hasText(bytes, "eXIf"), isReadInParts: bytes[24] <= 8 };
  return { isPlain: false, isReadInParts: false };
}

// Walks through a JPEG's segments up to its first scan.
function isProgressive(bytes) {
  for (let at = 2; at + 3 < bytes.length && bytes[at] === 0xff && bytes[at + 1] !== START_OF_SCAN; ) {
    if (bytes[at + 1] === PROGRESSIVE) return true;
    at += bytes[at + 1] === 0xff ? 1 : 2 + 256 * bytes[at + 2] + bytes[at + 3];
  }
  return false;
}

const hasText = (bytes, text) => new TextDecoder("latin1").decode(bytes).includes(text);
