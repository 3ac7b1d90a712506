// Search and browse.
import { h, to } from "./dom.js";
import { choice, empty, many, problem, section, unitRow } from "./parts.js";

const OUTCOMES = [["", "any outcome"], ["correct", "successes"], ["incorrect", "failures"]];
const STATUSES = [["", "any status"], ["active", "active"], ["quarantined", "quarantined"], ["withheld", "withheld"], ["revoked", "revoked"]];

export async function units({ asked, ask }) {
  const recalling = asked.how === "recall";
  const go = (change) => { location.hash = to(["units"], { ...asked, cursor: "", ...change }); };
  const field = h("input", { id: "search", type: "search", name: "text", value: asked.text || "", autocomplete: "off",
    placeholder: recalling ? "A question, as an agent would ask it" : "Words in question, caption or workflow",
    "aria-label": recalling ? "Question" : "Search text" });
  const how = (value, text) => h("label", {}, h("input", { type: "radio", name: "how", value, checked: recalling === (value === "recall"),
    onchange: () => go({ how: value === "recall" ? "recall" : "", text: field.value }) }), h("span", {}, text));
  const form = h("form", { cls: "search", role: "search", onsubmit: (event) => { event.preventDefault(); go({ text: field.value }); } },
    h("div", { cls: "line" }, field, h("button", { cls: "primary" }, "Search")),
    h("div", { cls: "line" },
      h("fieldset", { cls: "switch" }, h("legend", { cls: "away" }, "How to search"), how("text", "Holds these words"), how("recall", "What an agent would be shown")),
      !recalling && choice("Outcome", "outcome", OUTCOMES, asked.outcome, (outcome) => go({ outcome, text: field.value })),
      !recalling && choice("Status", "status", STATUSES, asked.status, (status) => go({ status, text: field.value })),
      asked.namespace && h("button", { type: "button", cls: "chip", title: "All namespaces", onclick: () => go({ namespace: "" }) },
        h("span", { cls: "data" }, asked.namespace), " ✕"),
      asked.category && h("button", { type: "button", cls: "chip", title: "All categories", onclick: () => go({ category: "" }) },
        h("span", { cls: "data" }, asked.category), " ✕")));
  let results;
  try {
    results = await (recalling ? recalled : listed)(asked, ask);
  } catch (error) {
    if (error.name === "AbortError" || error.status === 401) throw error;
    results = problem(error);
  }
  return [h("h1", {}, "Memories"), form, h("div", { id: "results" }, results)];
}

async function listed(asked, ask) {
  const form = { text: asked.text || "" };
  for (const name of ["namespace", "category", "outcome", "status", "cursor"]) if (asked[name]) form[name] = asked[name];
  const page = await ask("units", form);
  if (!page.units.length) {
    return empty("Nothing is found.", asked.text ? "No memory holds these words. Fewer words find more; " : "No memory is like that. ",
      h("a", { href: to(["units"]) }, "show all"));
  }
  return [h("p", { cls: "quiet" }, many(page.total, "memory", "memories"), asked.cursor ? ", an older page" : ", newest first"),
    h("ul", { cls: "units" }, page.units.map((unit) => unitRow(unit))),
    h("nav", { cls: "pager", "aria-label": "Pages of results" },
      asked.cursor && h("a", { href: to(["units"], { ...asked, cursor: "" }) }, "Newest"),
      page.next && h("a", { href: to(["units"], { ...asked, cursor: page.next }), rel: "next" }, "Older"))];
}

async function recalled(asked, ask) {
  if (!asked.text) return empty("Ask a question.", "Shown is what memory_retrieve would give an agent, and why. Nothing is drawn and nothing is counted.");
  const found = await ask("recall", { question: asked.text, ...(asked.namespace ? { namespace: asked.namespace } : {}) });
  const group = (title, hits) => hits.length > 0 && section(title, h("ul", { cls: "units" }, hits.map((hit) => unitRow(hit.unit, why(hit)))));
  return [h("p", { cls: "quiet data" }, `${many(found.considered, "memory", "memories")} compared. ${found.note}`),
    !found.successes.length && !found.failures.length && empty("Nothing relevant.", "No memory comes over the floor, so an agent would be shown none. That is an answer."),
    group("Worked before", found.successes), group("Failed before", found.failures)];
}

const why = (hit) => h("div", { cls: "why" }, h("p", { cls: "data quiet" }, hit.why));
