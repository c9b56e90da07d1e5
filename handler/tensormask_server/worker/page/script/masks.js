// Masks as the runs of their pixels. They take some kilobytes where a layer of a large image takes megabytes.

// Decodes COCO's compressed run lengths: 5 bits per letter, the lowest first. From the fourth run on, a run is stored as
// its difference to the run two before it.
//
// Returns {height, starts, ends, left, top, right, bottom}. Run i is on from pixel starts[i] to before ends[i] of the
// image, column by column. The four borders, in pixels, are those of the smallest rectangle around the mask.
export function decodedMask({ size: [height, width], counts }) {
  const starts = [], ends = [], lengths = [0, 0];
  let position = 0;
  for (let at = 0, index = 0; at < counts.length; index++) {
    let length = 0, shift = 0, bits;
    do {
      bits = counts.charCodeAt(at++) - 48;
      length |= (bits & 31) << shift;
      shift += 5;
    } while (bits & 32);
    if (bits & 16) length |= -1 << shift;
    if (index > 2) length += lengths[index % 2];
    lengths[index % 2] = length;
    if (index % 2 && length) {
      starts.push(position);
      ends.push(position + length);
    }
    position += length;
  }
  return { height, starts: Int32Array.from(starts), ends: Int32Array.from(ends), ...bordersOf(starts, ends, height, width) };
}

function bordersOf(starts, ends, height, width) {
  if (!starts.length) return { left: 0, top: 0, right: 0, bottom: 0 };
  let top = height, bottom = 0;
  for (let i = 0; i < starts.length; i++) {
    const last = ends[i] - 1;
    if (Math.floor(starts[i] / height) !== Math.floor(last / height)) { top = 0; bottom = height; break; }
    top = Math.min(top, starts[i] % height);
    bottom = Math.max(bottom, (last % height) + 1);
  }
  const left = Math.floor(starts[0] / height);
  return { left, top, right: Math.min(Math.floor((ends.at(-1) - 1) / height) + 1, width), bottom };
}

// Whether a pixel of the image is on.
export function hasPixel(mask, x, y) {
  if (x < mask.left || x >= mask.right || y < mask.top || y >= mask.bottom) return false;
  const position = x * mask.height + y;
  const i = firstEndingAfter(mask, position);
  return i < mask.starts.length && mask.starts[i] <= position;
}

// The mask within a rectangle of the image, sampled at the centres of columns × rows cells. Returns a Uint8Array of the
// cells, row by row: 1 where the mask is on.
export function sampledMask(mask, { left, top, right, bottom }, columns, rows) {
  const cells = new Uint8Array(columns * rows);
  const perPixel = rows / (bottom - top);
  // the first cell with its centre at or below the upper border of pixel y
  const rowOf = (y) => Math.min(Math.max(Math.ceil((y - top) * perPixel - 0.5), 0), rows);
  for (let column = 0; column < columns; column++) {
    const x = Math.floor(left + ((column + 0.5) * (right - left)) / columns);
    const first = x * mask.height, end = first + mask.height;
    for (let i = firstEndingAfter(mask, first); i < mask.starts.length && mask.starts[i] < end; i++) {
      const stop = rowOf(Math.min(mask.ends[i], end) - first);
      for (let row = rowOf(Math.max(mask.starts[i], first) - first); row < stop; row++) cells[row * columns + column] = 1;
    }
  }
  return cells;
}

// Where a sampled mask ends: 1 for each cell that is on and has a cell that is off, or the border, beside it.
export function edgesOf(cells, columns, rows) {
  const edges = new Uint8Array(cells.length);
  for (let y = 0, i = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++, i++) {
      if (!cells[i]) continue;
      const inside = x > 0 && x < columns - 1 && y > 0 && y < rows - 1 && cells[i - 1] && cells[i + 1] && cells[i - columns] && cells[i + columns];
      if (!inside) edges[i] = 1;
    }
  }
  return edges;
}

// The index of the first run that ends after this position.
function firstEndingAfter({ ends }, position) {
  let low = 0, high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] > position) high = middle;
    else low = middle + 1;
  }
  return low;
}
