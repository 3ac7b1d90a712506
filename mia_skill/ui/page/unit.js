// One memory: what it says, where it comes from, what was made of it, every use of it, its log.
import { h, to } from "./dom.js";
import { badge, data, empty, logTable, many, mark, outcomeOf, section, short, statusBadge, table, value, when, wordOf } from "./parts.js";
import { forest, lineage } from "./charts.js";
import { actions } from "./review.js";

export async function unit({ path, session, ask, again }) {
  const found = await ask("unit", { id: path[0] || "" });
  const { unit: one, uses, log } = found;
  return [
    h("div", { cls: "head" }, mark(outcomeOf(one)), h("h1", { cls: "data", dir: "auto" }, one.question)),
    h("p", { cls: "meta" }, badge(wordOf(outcomeOf(one)), outcomeOf(one)), statusBadge(one.status), data(one.namespace),
      one.category !== "others" && data(one.category, "span", "badge"), value(one), when(one.created_at), h("span", { cls: "id" }, one.id)),
    actions(one, session, again, true),
    section("Workflow", data(one.workflow, "pre", "text"), one.caption && [h("h3", {}, "What the image shows"), data(one.caption, "p")],
      one.plan && h("details", {}, h("summary", {}, "The plan of its run"), data(one.plan, "pre", "text"))),
    section("Lineage", kin(found)),
    section("Uses", used(found)),
    section("Where it comes from", origin(found)),
    section("Log", log.entries.length ? logTable(log.entries) : h("p", { cls: "quiet" }, "no entry"),
      log.next_cursor && h("p", { cls: "quiet" }, "older entries: ", h("a", { href: to(["audit"], { subject: one.id }) }, "all of them"))),
    one.feedback.length > 0 && section("Feedback", h("ul", { cls: "plainlist" }, one.feedback.map((said) =>
      h("li", {}, badge(said.good ? "good" : "bad", said.good ? "correct" : "incorrect"), " ", data(said.note), " ", when(said.at))))),
  ];
}

function origin({ unit, trust }) {
  const came = unit.provenance;
  const row = (name, body) => [h("dt", {}, name), h("dd", {}, body)];
  return [
    h("dl", {},
      row("Origins", came.origins.map((one) => badge(one.replace("_", " ")))),
      row("Trust of the whole lineage", badge(trust.replace("_", " "), trust === "own_run" || trust === "user" ? "correct" : "quarantined")),
      row("Judged by", data(came.judged_by)), row("Principal", data(came.principal)),
      row("Steps of its run", unit.steps || "–"),
      row("Read", came.sources.length ? h("ul", { cls: "chips" }, came.sources.map((one) => h("li", {}, data(one, "code")))) : "nothing is noted")),
    came.trail.length > 0 && h("details", {}, h("summary", {}, `What its run did (${many(came.trail.length, "call")})`),
      h("ol", { cls: "trail" }, came.trail.map((one) => h("li", {}, data(one))))),
  ];
}

function kin({ unit, ancestors, more_ancestors: more, uses }) {
  if (!ancestors.length && !uses.children.length) {
    return h("p", { cls: "quiet" }, "Its run was shown no memory, and no run that was shown it has been kept.");
  }
  const self = { ...unit, parents: unit.provenance.parents };
  return [
    h("p", { cls: "quiet" }, "Left: the memories its run was shown, and theirs. Right: memories of runs that were shown this one."),
    lineage(self, ancestors, uses.children),
    more > 0 && h("p", { cls: "quiet" }, `and ${many(more, "further ancestor")}`),
    ancestors.length > 0 && h("details", {}, h("summary", {}, `Ancestors and what they read (${ancestors.length})`),
      h("ul", { cls: "plainlist" }, ancestors.map((one) => h("li", {},
        one.question === null ? h("span", { cls: "quiet" }, `${short(one.id)} is not here any more`)
          : h("a", { cls: "data", href: to(["unit", one.id]) }, one.question),
        h("span", { cls: "meta" }, ` generation ${one.depth} `, one.origins.map((from) => badge(from.replace("_", " ")))),
        one.sources.map((source) => data(source, "code", "block")))))),
  ];
}

function used({ unit, uses }) {
  const credits = many(unit.uses, "credited use");
  const note = uses.searched < uses.outcomes ? ` Searched were the newest ${uses.searched.toLocaleString("en")} of ${uses.outcomes.toLocaleString("en")} outcomes.` : "";
  return [
    h("p", { cls: "quiet" }, `${credits}, ${unit.wins} right. `, "A row is a task whose outcome tells of it: it was shown, or left out by chance.", note),
    uses.tally.shown + uses.tally.withheld > 0 && forest([{ scope: "this", key: "Lift", tally: uses.tally, lift: uses.lift, withheld_now: unit.status === "withheld" }]),
    uses.uses.length
      ? table(["when", "task", "this memory was", "memories shown", "ended", "judged by"], uses.uses.map((use) => [
        when(use.at), h("span", { cls: "id" }, short(use.task)), badge(use.shown ? "shown" : "left out", use.shown ? "" : "withheld"),
        use.together, [mark(use.won ? "correct" : "incorrect"), use.won ? " right" : " wrong"], data(use.judged_by)]))
      : empty("No judged task tells of it yet."),
  ];
}
