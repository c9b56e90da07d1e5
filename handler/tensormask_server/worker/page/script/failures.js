// The texts of failures: what happened, and what to do.

export const UNREACHABLE = "The server doesn't respond. Check that it runs and that this device is connected, then try again.";
export const NOT_OURS = "What responded isn't this server; it may be a proxy's page. Reload this page, then try again.";

// the statuses that a web server or a proxy sends by itself
const TEXTS = {
  401: "The server requires a token, and this page can't send one. Send the image by a command, with the header Authorization.",
  403: "The server or a proxy refused the request. Ask who runs it whether you may use it.",
  404: "The server has no model of this name. Reload this page; if that fails, ask who runs the server for the model's address.",
  408: "The request took too long to arrive. Try again, or send a smaller image.",
  413: "The file is larger than the server accepts. Save it as a JPEG, or make it smaller, then try again.",
  429: "Too many requests were sent. Try again in a minute.",
  502: "A proxy can't reach the server. Try again in a moment.",
  503: "The server is busy or just starting. Try again in a moment.",
  504: "The server took too long. Try again, with a smaller image or without tiles.",
};

// What a response says that isn't a success.
export function failureText(status, body) {
  const content = parsed(body);
  if (content.error) return `${sentence(content.error)} ${toDo(content.expected)}${status >= 500 ? " Then try again." : ""}`;
  if (content.message === "Worker died.") {
    return "The worker that had this image ended, and a new one is starting. Try again in a moment; if it ends again, send a smaller image.";
  }
  return TEXTS[status] ?? `The server responded with status ${status}${content.message ? `: ${sentence(content.message)}` : "."} Try again; the server's log may say why.`;
}

// The server names everything that a program may send in the place of an image. Here it is a file.
function toDo(expected) {
  const [, kinds] = expected.match(/^an image's bytes \((.*?): curl/) ?? [];
  return kinds ? `Choose another file, or save the image anew: ${kinds}.` : `Expected: ${sentence(expected, false)}`;
}

function parsed(body) {
  try {
    return JSON.parse(body) ?? {};
  } catch {
    return {};
  }
}

function sentence(text, isFirst = true) {
  const ended = /[.!?]$/.test(text) ? text : `${text}.`;
  return isFirst ? ended[0].toUpperCase() + ended.slice(1) : ended;
}
