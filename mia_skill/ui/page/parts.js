// The pieces that views share.
import { h, s, put, to } from "./dom.js";
import { Failed } from "./api.js";

const MARKS = { correct: "✓", incorrect: "✕", pending: "?" };

export const outcomeOf = (unit) => unit.outcome || "pending";
export const wordOf = (outcome) => ({ correct: "success", incorrect: "failure" }[outcome] || outcome.replace(/_/g, " "));

export function mark(outcome) {
  return h("span", { cls: "mark " + outcome, title: wordOf(outcome), role: "img", "aria-label": wordOf(outcome) },
    MARKS[outcome] || "·");
}

export const badge = (text, kind = "") => h("span", { cls: "badge " + kind }, text);
export const statusBadge = (status) => (status === "active" ? null : badge(status, status));
export const data = (text, tag = "span", cls = "") => h(tag, { cls: "data " + cls, dir: "auto" }, text);
export const when = (at) => h("time", { datetime: at }, String(at).slice(0, 16).replace("T", " "));
export const many = (count, one, more = one + "s") => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;
export const percent = (share) => (share === null || share === undefined ? "–" : (100 * share).toFixed(1) + "%");

export function value(unit) {
  if (!unit.uses) return h("span", { cls: "quiet" }, "not used yet");
  const share = unit.wins / unit.uses;
  return h("span", { cls: "value", title: `right ${unit.wins} of the ${unit.uses} times it was shown` },
    meter(share), h("span", {}, `${unit.wins}/${unit.uses}`));
}

export function meter(share) {
  return s("svg", { cls: "meter", viewBox: "0 0 40 6", width: 40, height: 6, "aria-hidden": "true" },
    s("rect", { cls: "track", width: 40, height: 6, rx: 3 }),
    s("rect", { cls: "fill", width: Math.max(0, Math.min(1, share)) * 40, height: 6, rx: 3 }));
}

export function unitRow(unit, ...more) {
  return h("li", { cls: "unit" },
    mark(outcomeOf(unit)),
    h("div", { cls: "grow" },
      h("a", { cls: "title data", dir: "auto", href: to(["unit", unit.id]) }, unit.question),
      data(unit.workflow, "p", "preview"),
      h("p", { cls: "meta" }, statusBadge(unit.status), h("span", {}, unit.namespace), value(unit),
        unit.origins.some((one) => one !== "own_run" && one !== "user") && badge("from " + unit.origins.join(", ")),
        when(unit.created_at)),
      more));
}

export function empty(title, ...text) {
  return h("div", { cls: "empty" }, h("p", { cls: "big" }, title), h("p", {}, ...text));
}

// Backticks in our own messages hold commands.
export function told(text) {
  return text.split(/`([^`]+)`/).map((part, place) => (place % 2 ? h("code", {}, part) : part));
}

export function problem(error) {
  const known = error instanceof Failed;
  return h("div", { cls: "problem", role: "alert" },
    h("strong", {}, known ? titleOf(error) : "The page failed"),
    h("p", { cls: "data" }, told(known ? error.message : String(error))));
}

function titleOf(error) {
  if (error.status === 0) return "No answer";
  if (error.status === 403) return "Not allowed";
  if (error.status === 404) return "Not found";
  return { 400: "That cannot be done", 429: "Too much at once", 503: "The bank cannot be used" }[error.status] || "It failed";
}

export function section(title, ...children) {
  return h("section", { cls: "card" }, title && h("h2", {}, title), children);
}

export function tile(label, count, kind, href) {
  const body = [h("span", { cls: "count" }, typeof count === "number" ? count.toLocaleString("en") : count),
    h("span", { cls: "label" }, label)];
  return href ? h("a", { cls: "tile " + kind, href }, body) : h("div", { cls: "tile " + kind }, body);
}

export function choice(label, name, options, chosen, changed) {
  return h("label", { cls: "choice" }, h("span", {}, label),
    h("select", { name, onchange: (event) => changed(event.target.value) },
      options.map(([value, text]) => h("option", { value, selected: value === (chosen || "") }, text))));
}

export function table(head, rows, cls = "") {
  return h("div", { cls: "scroll", tabindex: 0, role: "region", "aria-label": "table" }, h("table", { cls },
    h("thead", {}, h("tr", {}, head.map((cell) => h("th", { scope: "col" }, cell)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell)))))));
}

export function logTable(entries) {
  return table(["#", "when", "what", "unit", "detail"], entries.map((entry) => [
    entry.number, when(entry.at), badge(entry.action),
    /^mem_/.test(entry.subject) ? h("a", { cls: "id", href: to(["unit", entry.subject]) }, short(entry.subject))
      : data(entry.subject, "span", "id"),
    linked(entry.detail)]), "log");
}

// A text of the log, with the memories that it names as links.
const linked = (text) => h("span", { cls: "data" }, text.split(/(mem_[0-9a-f]{32})/).map((part, place) =>
  (place % 2 ? h("a", { cls: "id", href: to(["unit", part]) }, short(part)) : part)));

// Ids begin with their time: it is the end that tells two of one minute apart.
export const short = (id) => (id.length > 16 ? id.slice(0, 4) + "…" + id.slice(-8) : id);

export function toast(text, kind = "good") {
  const shown = h("div", { cls: "toast " + kind }, text);
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), 6000);
}

// Asks before something is done; what is done answers with what to say, or throws and the dialog says why.
export function confirmed({ title, body, verb, danger = false, act }) {
  const no = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const yes = h("button", { type: "button", cls: danger ? "danger" : "primary", onclick: go }, verb);
  const trouble = h("div", {});
  const dialog = h("dialog", { "aria-labelledby": "asked", onclose: () => dialog.remove() },
    h("h2", { id: "asked" }, title), body, trouble, h("div", { cls: "buttons" }, no, yes));
  async function go() {
    yes.disabled = no.disabled = true;
    try {
      await act();
      dialog.close();
    } catch (error) {
      put(trouble, problem(error));
      no.disabled = false;
    }
  }
  document.body.append(dialog);
  dialog.showModal();
  no.focus();
}
