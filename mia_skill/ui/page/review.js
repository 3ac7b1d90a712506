// Quarantine: read a memory, then let it direct, or forget it.
import { h, to } from "./dom.js";
import { ask as post } from "./api.js";
import { badge, confirmed, empty, many, toast, unitRow } from "./parts.js";

export async function review({ asked, session, ask, again }) {
  const status = asked.status === "withheld" ? "withheld" : "quarantined";
  const page = await ask("units", { status, ...(asked.cursor ? { cursor: asked.cursor } : {}) });
  const tab = (name, text) => h("a", { href: to(["review"], name === "quarantined" ? {} : { status: name }),
    "aria-current": name === status ? "true" : undefined }, text);
  const about = status === "quarantined"
    ? "These come from a source that is not trusted: the web, a file, an import, another agent. They inform and never direct, until runs that nobody steered succeed with them, or a person lets them."
    : "These were measured to do harm: they are shown only now and then, so that the measurement can change its mind.";
  return [
    h("h1", {}, "Quarantine"),
    h("nav", { cls: "tabs", "aria-label": "What waits" }, tab("quarantined", "From elsewhere"), tab("withheld", "Measured to harm")),
    h("p", {}, about),
    page.units.length
      ? [h("p", { cls: "quiet" }, many(page.total, "memory", "memories"), " ", badge(status, status)),
        h("ul", { cls: "units whole" }, page.units.map((unit) => unitRow(unit, actions(unit, session, again)))),
        h("nav", { cls: "pager", "aria-label": "Pages of results" },
          asked.cursor && h("a", { href: to(["review"], { ...asked, cursor: "" }) }, "Newest"),
          page.next && h("a", { href: to(["review"], { ...asked, cursor: page.next }) }, "Older"))]
      : empty("Nothing waits here.", status === "quarantined" ? "Every memory comes from your own runs, from you, or was let in." : "No memory is measured to do harm."),
  ];
}

export function actions(unit, session, again, leave = false) {
  if (session.read_only) return null;
  const waits = unit.status === "quarantined" || unit.status === "withheld";
  return h("div", { cls: "buttons" },
    waits && h("button", { cls: "primary", onclick: () => promote(unit, again) }, "Let it direct"),
    h("button", { cls: "danger quietly", onclick: () => forget(unit, leave ? () => { location.hash = to(["units"]); } : again) }, "Forget"));
}

const quoted = (unit) => h("blockquote", { cls: "data", dir: "auto" }, unit.question);

function promote(unit, done) {
  confirmed({
    title: "Let this memory direct plans?",
    body: [quoted(unit), h("p", {}, "Agents will be shown its workflow as one that worked, and follow it. What was quarantined for its sake alone is let in with it. Read the workflow first.")],
    verb: "Let it direct",
    act: async () => {
      const { promoted } = await post("promote", { id: unit.id, confirm: "promote" });
      toast(promoted.length > 1 ? `It may direct now, and ${promoted.length - 1} more that waited for it.` : "It may direct now.");
      done();
    },
  });
}

function forget(unit, done) {
  confirmed({
    title: "Forget this memory for good?",
    body: [quoted(unit), h("p", {}, "Its text, its vectors and the plan pairs of its question are deleted. Only the log keeps that it was there. This cannot be undone.")],
    verb: "Forget for good",
    danger: true,
    act: async () => {
      await post("forget", { ids: [unit.id], confirm: "forget" });
      toast("Forgotten.");
      done();
    },
  });
}
