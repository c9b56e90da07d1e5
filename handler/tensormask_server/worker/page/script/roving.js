// A group of buttons that is one stop of the Tab key. The arrow keys, Home and End move within it.

// Call it once for the group's element. It works for buttons that are added later, too.
export function startRoving(group) {
  const buttons = () => [...group.querySelectorAll("button")].filter((each) => !each.closest("[hidden]"));
  group.addEventListener("focusin", (event) => enterAt(buttons(), event.target));
  group.addEventListener("keydown", (event) => {
    const all = buttons(), at = all.indexOf(event.target);
    const to = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    all[Math.min(Math.max(to, 0), all.length - 1)].focus();
  });
  return () => enterAt(buttons(), group.querySelector('button[tabindex="0"]'));
}

// Makes one button the group's stop: this one, or the first if this one isn't there.
function enterAt(buttons, stop) {
  const there = buttons.includes(stop) ? stop : buttons[0];
  for (const each of buttons) each.tabIndex = each === there ? 0 : -1;
}
