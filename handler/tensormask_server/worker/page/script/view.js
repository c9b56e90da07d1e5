// Which part of the image the display shows, and at which scale.

const STEP = 1.25;  // of a button or a key
const MOST_ENLARGED = 16;  // CSS pixels for one of the image
const LEAST_ZOOM = 8;  // how far a small image can be enlarged at least, beyond the display

export class View {
  // width, height: of the image. display: {width, height} in CSS pixels.
  constructor(width, height, display) {
    Object.assign(this, { width, height, display });
    this.fit = Math.min(display.width / width, display.height / height);  // the scale at which the whole image is seen
    this.showAll();
  }

  showAll() {
    Object.assign(this, { scale: this.fit, left: 0, top: 0 });  // left, top: of the image at the display's corner
    this.keepWithin();
  }

  get isWhole() {
    return this.scale <= this.fit * 1.001;
  }

  get mostScale() {
    return Math.max(MOST_ENLARGED, LEAST_ZOOM * this.fit);
  }

  // Multiplies the scale. The pixel of the image at x, y of the display stays where it is; without them, its centre.
  zoom(factor, x = this.display.width / 2, y = this.display.height / 2) {
    const scale = Math.min(Math.max(this.scale * factor, this.fit), this.mostScale);
    this.left += x / this.scale - x / scale;
    this.top += y / this.scale - y / scale;
    this.scale = scale;
    this.keepWithin();
  }

  zoomIn() { this.zoom(STEP); }
  zoomOut() { this.zoom(1 / STEP); }

  // Moves the image by CSS pixels of the display.
  move(x, y) {
    this.left -= x / this.scale;
    this.top -= y / this.scale;
    this.keepWithin();
  }

  // Moves the image, if need be, so that a rectangle of it is seen.
  reveal({ left, top, right, bottom }) {
    const across = this.display.width / this.scale, down = this.display.height / this.scale;
    if (left < this.left || right > this.left + across) this.left = (left + right - across) / 2;
    if (top < this.top || bottom > this.top + down) this.top = (top + bottom - down) / 2;
    this.keepWithin();
  }

  // The part of the image that is seen, and the scale in pixels of the canvas.
  part(ratio) {
    const { left, top, display, scale } = this;
    return { left, top, right: left + display.width / scale, bottom: top + display.height / scale, scale: scale * ratio };
  }

  // The image's borders don't leave those of the display; an image that is smaller than the display is in its middle.
  keepWithin() {
    this.left = within(this.left, this.width - this.display.width / this.scale);
    this.top = within(this.top, this.height - this.display.height / this.scale);
  }
}

const within = (start, most) => (most <= 0 ? most / 2 : Math.min(Math.max(start, 0), most));
