// COCO's compressed run lengths of a mask.

// 5 bits per letter, the lowest first. From the fourth run on, a run is stored as its difference to the run two before it.
export function decodedMask(counts, length) {
  const mask = new Uint8Array(length);  // column by column
  const runs = [];
  let at = 0, position = 0, on = 0;
  while (at < counts.length) {
    let run = 0, shift = 0, more = true;
    while (more) {
      const bits = counts.charCodeAt(at++) - 48;
      run |= (bits & 31) << shift;
      shift += 5;
      more = (bits & 32) !== 0;
      if (!more && bits & 16) run |= -1 << shift;
    }
    if (runs.length > 2) run += runs[runs.length - 2];
    runs.push(run);
    if (on) mask.fill(1, position, position + run);
    position += run;
    on = 1 - on;
  }
  return mask;
}
