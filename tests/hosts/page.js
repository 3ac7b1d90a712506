// A host of one MCP App view, without a browser. argv: the page, a tool result, and what the host answers when the view
// calls a tool. Every <details> is opened. Prints what the view shows and what it asked the host for.
const fs = require("fs");
const vm = require("vm");

class Node {
  constructor(kind) { this.kind = kind; this.children = []; this.own = ""; this.scrollHeight = 100; this.heard = {}; }
  set textContent(text) { this.own = text; this.children = []; }
  get textContent() { return this.own + this.children.map((child) => child.textContent + "\n").join(""); }
  appendChild(child) { this.children.push(child); }
  addEventListener(kind, heard) { this.heard[kind] = heard; }
}

const [page, result, answer] = process.argv.slice(2);
const scripts = [...fs.readFileSync(page, "utf8").matchAll(/<script>([\s\S]*?)<\/script>/g)].map((found) => found[1]);
const main = new Node("main");
const called = [];
let listener;
const parent = { postMessage: (message) => called.push(message) };
const window = { parent, addEventListener: (_kind, heard) => { listener = heard; } };
const document = { documentElement: main, getElementById: (id) => (id === "report" ? main : null),
  createElement: (kind) => new Node(kind) };
vm.runInNewContext(scripts.join("\n"), { window, document, Math, JSON, Map });

const say = (data, source = parent) => listener({ source, data: { jsonrpc: "2.0", ...data } });
say({ id: called[0].id, result: {} });
say({ method: "ui/notifications/tool-result", params: { isError: true, content: [] } }, {});
say({ method: "ui/notifications/tool-result", params: JSON.parse(result) });
const nodes = (node) => [node, ...node.children.flatMap(nodes)];
for (const box of nodes(main).filter((node) => node.kind === "details")) {
  box.open = true;
  if (box.heard.toggle) box.heard.toggle();
}
const wanted = called.filter((message) => message.method === "tools/call");
for (const message of wanted) say({ id: message.id, ...JSON.parse(answer) });
console.log(JSON.stringify({
  text: main.textContent, called: called.map((message) => message.method), kinds: [...new Set(nodes(main).map((n) => n.kind))],
  wanted: wanted.map((message) => message.params),
}));
