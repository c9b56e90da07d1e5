// What the page knows about its model: classes, limits, defaults, samples. The server writes it into the page.

import { byId } from "./elements.js";

const data = JSON.parse(byId("server").textContent);

export const server = {
  ...data,
  unreducedSide: data.unreducedSide || Infinity,  // the network sees an image with a longer shorter side reduced
  longestSide: data.longestSide || Infinity,
  path: pathOfModel(location.pathname, data.model),  // where images are sent
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
