// A host of one MCP App view, without a browser: argv is the page and a tool result; prints what the view shows and
// the methods it called.
const fs = require("fs");
const vm = require("vm");

class Node {
  constructor(kind) { this.kind = kind; this.children = []; this.own = ""; this.scrollHeight = 100; }
  set textContent(text) { this.own = text; this.children = []; }
  get textContent() { return this.own + this.children.map((child) => child.textContent + "\n").join(""); }
  appendChild(child) { this.children.push(child); }
}

const [page, result] = process.argv.slice(2);
const script = fs.readFileSync(page, "utf8").match(/<script>([\s\S]*)<\/script>/)[1];
const main = new Node("main");
const called = [];
let listener;
const parent = { postMessage: (message) => called.push(message.method) };
const window = { parent, addEventListener: (_kind, heard) => { listener = heard; } };
const document = { documentElement: main, getElementById: () => main, createElement: (kind) => new Node(kind) };
vm.runInNewContext(script, { window, document, Math, JSON });
listener({ source: parent, data: { jsonrpc: "2.0", id: 1, result: {} } });
listener({ source: {}, data: { method: "ui/notifications/tool-result", params: { isError: true, content: [] } } });
listener({ source: parent, data: { method: "ui/notifications/tool-result", params: JSON.parse(result) } });
const kinds = (node) => [node.kind, ...node.children.flatMap(kinds)];
console.log(JSON.stringify({ text: main.textContent, called, kinds: [...new Set(kinds(main))] }));
