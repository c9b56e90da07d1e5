// The colours of instances, and of text on them.

const GOLDEN_ANGLE = 137.508;  // degrees: hues that follow one another differ much
const LIGHTNESS = [0.62, 0.5, 0.74];  // of a class's instances in turn

// Gives each instance a colour, [red, green, blue] of 0…255. Instances of a class have one hue. If there is only one
// class, each instance has a hue of its own.
export function coloursOf(instances) {
  const classes = [...new Set(instances.map((each) => each.category_name))];
  const count = new Map();
  return instances.map(({ category_name: name }, index) => {
    if (classes.length === 1) return rgbOf(index * GOLDEN_ANGLE, LIGHTNESS[0]);
    const number = count.get(name) ?? 0;
    count.set(name, number + 1);
    return rgbOf(classes.indexOf(name) * GOLDEN_ANGLE, LIGHTNESS[number % LIGHTNESS.length]);
  });
}

export const cssOf = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

// Black or white, whichever has the higher contrast: it is at least 4.58:1 before any colour.
export const textOn = (colour) => (luminance(colour) > 0.179 ? "#000" : "#fff");

// WCAG's relative luminance, 0…1.
function luminance(colour) {
  const [red, green, blue] = colour.map((value) => (value <= 10.31 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// From a hue in degrees and a lightness of 0…1, at a saturation of 0.85.
function rgbOf(hue, lightness) {
  const chroma = 0.85 * Math.min(lightness, 1 - lightness);
  const channel = (offset) => {
    const place = (offset + hue / 30) % 12;
    return Math.round(255 * (lightness - chroma * Math.max(-1, Math.min(place - 3, 9 - place, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}
