// An image as this browser decodes it.

const SMALL = 1 << 22;  // pixels: 4 bytes each

// Decodes an image file. Returns null if this browser can't.
export async function decodedPicture(file) {
  const source = (await createImageBitmap(file).catch(() => null)) ?? (await imageElement(file).catch(() => null));
  return source && new Picture(source);
}

// <img> knows kinds that createImageBitmap doesn't, such as SVG.
async function imageElement(file) {
  const url = URL.createObjectURL(file);
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    return await createImageBitmap(image);
  } finally {
    URL.revokeObjectURL(url);
  }
}

class Picture {
  constructor(source) {
    this.source = source;  // an ImageBitmap, of the image's size or smaller
    this.width = source.width;
    this.height = source.height;
    this.reduced = null;  // a copy of the size at which it was drawn last
  }

  // Draws the image into a rectangle of the canvas, of which a part may lie outside of the canvas.
  draw(context, x, y, width, height) {
    const isMuchReduced = width * height * 4 < this.width * this.height;
    const source = isMuchReduced ? this.copyOf(Math.max(Math.round(width), 1), Math.max(Math.round(height), 1)) : this.source;
    context.drawImage(source, x, y, width, height);
  }

  copyOf(width, height) {
    if (this.reduced?.width !== width || this.reduced?.height !== height) {
      this.reduced = new OffscreenCanvas(width, height);
      const context = this.reduced.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(this.source, 0, 0, width, height);
    }
    return this.reduced;
  }

  // Keeps only a smaller copy, so that there is room for another image.
  reduce() {
    const scale = Math.sqrt(SMALL / (this.width * this.height));
    if (scale >= 1 || this.source.width < this.width) return;
    const canvas = new OffscreenCanvas(Math.ceil(scale * this.width), Math.ceil(scale * this.height));
    canvas.getContext("2d").drawImage(this.source, 0, 0, canvas.width, canvas.height);
    this.replaceSource(canvas.transferToImageBitmap());
  }

  // Decodes the image's file again, after reduce().
  async restore(file) {
    if (this.source.width === this.width) return;
    const again = await decodedPicture(file);
    if (again) this.replaceSource(again.source);
  }

  replaceSource(source) {
    this.release();
    this.source = source;
  }

  // Frees the memory of the image at once: the browser would keep it until it collects garbage.
  release() {
    this.source.close();
    this.reduced = null;
  }
}
