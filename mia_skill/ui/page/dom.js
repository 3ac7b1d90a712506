// Builds elements. Every text becomes a text node, and a link leads inside this page only: what a bank holds may come
// from a stranger, so nothing of it is ever parsed as markup, used as an address or as code.

const SVG = "http://www.w3.org/2000/svg";

export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "href") node.setAttribute("href", inside(value));
    else if (name === "value" || name === "checked" || name === "disabled" || name === "open") node[name] = value;
    else node.setAttribute(name === "cls" ? "class" : name, value === true ? "" : String(value));
  }
  return add(node, children);
}

export function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

export function put(node, ...children) {
  node.replaceChildren();
  return add(node, children);
}

function inside(address) {
  const text = String(address);
  if (/^#/.test(text) || /^\/reports\/[0-9a-f]{64}$/.test(text)) return text;
  throw new Error("a link of this page leads inside it");
}

// An address of this page: a path, then what is asked for. `read` is its inverse.
export function to(path, asked = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(asked)) if (value) query.set(name, value);
  const tail = query.toString();
  return "#/" + path.map(encodeURIComponent).join("/") + (tail ? "?" + tail : "");
}

export function read(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return {
    path: path.split("/").filter(Boolean).map(decoded),
    asked: Object.fromEntries(new URLSearchParams(query || "")),
  };
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}
