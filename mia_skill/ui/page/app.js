// The page: takes the token, shows the view that the address names, keeps the frame around it.
import { h, put, read, to } from "./dom.js";
import { Failed, ask, keep, takeToken } from "./api.js";
import { badge, problem } from "./parts.js";
import { overview } from "./overview.js";
import { units } from "./units.js";
import { unit } from "./unit.js";
import { map } from "./map.js";
import { review } from "./review.js";
import { audit } from "./audit.js";
import { episode, report, run, runs } from "./runs.js";

const VIEWS = { "": overview, units, unit, map, review, audit, runs, run, episode, report };
const PAGES = [["", "Overview"], ["units", "Memories"], ["map", "Map"], ["review", "Quarantine"],
  ["audit", "Audit"], ["runs", "Evaluations"]];
const WITHIN = { unit: "units", run: "runs", episode: "runs", report: "runs" };

const main = document.getElementById("main");
let session = null;
let leave = new AbortController();

async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { path, asked } = read(location.hash);
  const name = path[0] || "";
  mark(name);
  try {
    session = session || await ask("session");
    frame();
    const view = VIEWS[name];
    if (!view) throw new Failed(404, "there is no such page: go to the overview");
    const waiting = setTimeout(() => main.classList.add("waiting"), 150);
    try {
      const body = await view({ path: path.slice(1), asked, session, signal, ask: (what, form) => ask(what, form, signal), again: show });
      if (!signal.aborted) arrive(body);
    } finally {
      clearTimeout(waiting);
      if (!signal.aborted) main.classList.remove("waiting");
    }
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    if (error.status === 401) arrive(locked(error));
    else arrive([h("h1", {}, "Something is in the way"), problem(error), h("p", {}, h("button", { onclick: show }, "Try again"))]);
    if (!(error instanceof Failed)) throw error;
  }
}

function arrive(body) {
  const typing = main.contains(document.activeElement) && document.activeElement.id;
  put(main, body);
  const title = main.querySelector("h1");
  document.title = (title ? title.textContent.slice(0, 80) + " – " : "") + "MIA memory";
  const again = typing && document.getElementById(typing);
  if (again) {
    again.focus();
    if (again.setSelectionRange) again.setSelectionRange(again.value.length, again.value.length);
  } else {
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
}

function locked(error) {
  const field = h("input", { id: "token", type: "password", autocomplete: "off", "aria-label": "Token" });
  return [h("h1", {}, "This page needs its token"), problem(error),
    h("form", { cls: "line", onsubmit: (event) => { event.preventDefault(); keep(field.value); session = null; show(); } },
      field, h("button", { cls: "primary" }, "Go on"))];
}

function mark(name) {
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.dataset.page === (WITHIN[name] || name)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function frame() {
  put(document.getElementById("foot"),
    h("p", { cls: "bank data", title: session.bank }, session.bank.split("/").pop()),
    h("p", { cls: "quiet" }, `mia-skill ${session.version} `, session.read_only && badge("read-only")),
    h("button", { cls: "plain", onclick: turn, title: "Light or dark" }, "Light / dark"));
}

function turn() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
  theme(now === "dark" ? "light" : "dark");
}

function theme(name) {
  if (name !== "dark" && name !== "light") return;
  document.documentElement.dataset.theme = name;
  localStorage.setItem("mia-theme", name);
}

function keys(event) {
  const busy = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey;
  if (busy || event.key !== "/" || document.querySelector("dialog")) return;
  event.preventDefault();
  const field = document.getElementById("search");
  if (field) field.focus();
  else location.hash = to(["units"]);
}

takeToken();
theme(localStorage.getItem("mia-theme"));
put(document.getElementById("nav"), PAGES.map(([page, title]) =>
  h("a", { href: to(page ? [page] : []), "data-page": page }, title)));
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("hashchange", () => { if (takeToken()) session = null; show(); });
addEventListener("keydown", keys);
show();
