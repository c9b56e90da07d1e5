// The line that says what happens; a screen reader reads it aloud.

import { byId } from "./elements.js";

export function setStatus(text, wrong = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("wrong", wrong);
}
