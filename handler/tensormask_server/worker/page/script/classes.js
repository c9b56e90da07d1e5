// What the model knows: a sentence, and the list of its classes, in which some can be chosen.

import { byId, element } from "./elements.js";
import { server } from "./server.js";
import { emit, state } from "./state.js";

const boxes = [];  // the classes' check boxes, in the network's order

export function startClasses() {
  const number = server.classes.length === 1 ? "1 class" : `${server.classes.length} classes`;
  byId("about").textContent = `This network knows ${server.about || number}.`;
  byId("number-of-classes").textContent = `Its ${number}`;
  byId("class-list").replaceChildren(...server.classes.map(entry));
  byId("class-filter").addEventListener("input", filter);
}

function entry(name) {
  const box = element("input", { type: "checkbox" });
  box.addEventListener("change", choose);
  boxes.push(box);
  return element("li", {}, element("label", {}, box, name));
}

function filter() {
  const wanted = byId("class-filter").value.trim().toLowerCase();
  const entries = [...byId("class-list").children];
  for (const [index, name] of server.classes.entries()) entries[index].hidden = !name.toLowerCase().includes(wanted);
  const left = entries.filter((each) => !each.hidden).length;
  byId("filtered").textContent = wanted ? `${left} of ${entries.length}` : "";
}

function choose() {
  const chosen = [...boxes.keys()].filter((index) => boxes[index].checked);
  if (chosen.length) state.options.Classes = classesOption(chosen);
  else delete state.options.Classes;
  emit("options");
}

// The request's option for these classes: a name where it is plain text, otherwise the network's number.
export function classesOption(indices) {
  const isPlain = (name) => /^[A-Za-z][\w -]*$/.test(name) && server.classes.filter((each) => each === name).length === 1;
  return indices.map((index) => (isPlain(server.classes[index]) ? server.classes[index] : index)).join(",");
}
