// What the server says about itself: its model, its limits and its defaults, in the data- attributes of <html>.

const data = document.documentElement.dataset;
const number = (text) => Number(text) || Infinity;

export const server = {
  model: data.model,
  maxPixels: number(data.maxPixels),  // of an image: the page makes larger ones smaller
  maxSide: number(data.maxSide),
  threshold: Number(data.scoreThreshold ?? 0.5),
  unreducedSide: number(data.unreducedSide),  // the network sees an image with a longer shorter side reduced
  longestSide: number(data.longestSide),
  tileSize: data.tileSize ?? "none",  // of a request that doesn't say
  formats: (data.formats ?? "").split(" "),  // each a format's name and suffix, such as "coco.json"
  sample: data.sample,  // a JPEG file in Base64
  path: pathOfModel(location.pathname, data.model ?? ""),  // where images are sent
};

// The path at which the page was opened, as a proxy may have put a prefix before the model's own. Only a prefix of harmless
// letters is kept, as anybody can make a link to this page with a path of their choice.
function pathOfModel(path, model) {
  const name = encodeURIComponent(model);
  const routes = [`/predictions/${name}`, `/${name}/predict`, `/models/${name}/invoke`];
  const own = routes.find((route) => path.includes(route)) || routes[0];
  const before = path.slice(0, Math.max(path.indexOf(own), 0));
  return (/^(\/[\w.~-]+)+$/.test(before) ? before : "") + own;
}
