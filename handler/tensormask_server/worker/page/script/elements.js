// Short names for what every part does with the document.

export const byId = (id) => document.getElementById(id);

// Makes an element with text and children: element("button", { type: "button" }, "Copy").
export function element(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...content);
  return made;
}
