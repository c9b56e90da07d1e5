// Where labels stand: none covers another, and all together cover a small share of the display.

const MOST_COVERED = 0.1;  // of the display's area, where there are many labels
const FEW = 12;  // labels; so many may cover more

// Places the labels of rectangles on a display.
//
// wanted: [{box: {left, top, right, bottom}, width}], the most important first; all in pixels of the display.
// Returns [{left, top, right, bottom} or null]: null where there is no room.
export function placedLabels(wanted, height, display) {
  const placed = [];
  let free = MOST_COVERED * display.width * display.height;
  return wanted.map(({ box, width }) => {
    const place = placesOf(box, width, height, display).find((each) => !placed.some((other) => overlap(each, other)));
    if (!place || (placed.length >= FEW && free < width * height)) return null;
    free -= width * height;
    placed.push(place);
    return place;
  });
}

// above the box, within it at the top, below it, and within it at the bottom
function placesOf(box, width, height, display) {
  const tops = [box.top - height, box.top, box.bottom, box.bottom - height];
  const left = Math.min(Math.max(box.left, 0), Math.max(display.width - width, 0));
  return tops
    .filter((top) => top >= 0 && top + height <= display.height)
    .map((top) => ({ left, top, right: left + width, bottom: top + height }));
}

const overlap = (one, other) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
