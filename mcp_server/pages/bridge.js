// What every view shares: how it talks to its host, and how a text gets onto the page. Any text may come from a
// stranger's page or an earlier run, so texts become text nodes; nothing is ever parsed as markup or fetched.
const shown = document.getElementById("report");
const waiting = new Map();

function add(parent, kind, text) {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  parent.appendChild(made);
  return made;
}

function send(message) { window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*"); }
function tell(method, params) { send({ method, params }); }
function resized() { tell("ui/notifications/size-changed", { height: document.documentElement.scrollHeight }); }

// Asks the host; `answered` gets the result, or an error as a result that says so.
function ask(method, params, answered) {
  const id = waiting.size + 1;
  waiting.set(id, answered);
  send({ id, method, params });
}

function greet(name) {
  const about = { protocolVersion: "2026-01-26", appInfo: { name, version: "1" }, appCapabilities: {} };
  ask("ui/initialize", about, () => tell("ui/notifications/initialized", {}));
}

// The text of a result, and what is in it: `show` of the page puts that on the screen.
function read(result) {
  const text = ((result.content || []).find((block) => block.type === "text") || {}).text || "";
  return result.isError ? { refused: text } : result.structuredContent || JSON.parse(text);
}

window.addEventListener("message", (event) => {
  if (event.source !== window.parent) return;
  const message = event.data || {};
  const answered = waiting.get(message.id);
  if (answered && !message.method) {
    waiting.set(message.id, null);
    answered(message.result || { isError: true, content: [{ type: "text", text: (message.error || {}).message }] });
  }
  if (message.method !== "ui/notifications/tool-result") return;
  const told = read(message.params || {});
  if (told.refused !== undefined) shown.textContent = told.refused;
  else show(told);
  resized();
});
