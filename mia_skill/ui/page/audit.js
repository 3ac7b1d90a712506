// What a person should look at, the log and its chain, the state of the bank.
import { h, put, to } from "./dom.js";
import { badge, data, empty, logTable, many, problem, section, short } from "./parts.js";

const WORDS = {
  duplicate: "Near-duplicates", never_used: "Never used", losing: "Losing", empty_workflow: "Empty workflow",
  no_provenance: "Without provenance", untrusted: "From elsewhere", echo: "Echoes", pending: "Waiting for a verdict",
};

export async function audit({ asked, ask }) {
  const form = { ...(asked.subject ? { subject: asked.subject } : {}), ...(asked.cursor ? { cursor: asked.cursor } : {}) };
  const log = await ask("log", form);
  return [
    h("h1", {}, "Audit"),
    onDemand("Junk", "Duplicates, echoes, what is never used or has no provenance. Every memory is read.", "Look for junk", () => ask("audit"), findings),
    onDemand("Trail", "Follows the hash chain of the log, and compares every memory with what the log says was stored.", "Check the log", (told) => checked(ask, told), verified),
    onDemand("State", "Checks the database and its index, and counts.", "Check the bank", () => ask("health"), state),
    section(asked.subject ? "Log of one memory" : "Log",
      asked.subject && h("p", {}, h("a", { href: to(["unit", asked.subject]) }, short(asked.subject)), " · ", h("a", { href: to(["audit"]) }, "everything")),
      log.entries.length ? logTable(log.entries) : empty("The log is empty."),
      h("nav", { cls: "pager", "aria-label": "Pages of the log" },
        asked.cursor && h("a", { href: to(["audit"], { ...asked, cursor: "" }) }, "Newest"),
        log.next_cursor && h("a", { href: to(["audit"], { ...asked, cursor: log.next_cursor }) }, "Older"))),
  ];
}

function onDemand(title, about, verb, work, shown) {
  const result = h("div", { "aria-live": "polite" });
  const button = h("button", { onclick: go }, verb);
  async function go() {
    button.disabled = true;
    put(result, h("p", { cls: "quiet" }, "Looking …"));
    try {
      put(result, shown(await work((so) => put(result, h("p", { cls: "quiet" }, so)))));
    } catch (error) {
      if (error.name !== "AbortError") put(result, problem(error));
    } finally {
      button.disabled = false;
    }
  }
  return section(title, h("div", { cls: "line between" }, h("p", {}, about), button), result);
}

function findings(report) {
  if (!report.findings.length) return empty("Nothing to mend.", `${many(report.units, "memory", "memories")} looked at.`);
  const kinds = [...new Set(report.findings.map((one) => one.kind))];
  return [h("p", { cls: "quiet" }, `${many(report.units, "memory", "memories")} looked at.`), kinds.map((kind) => {
    const own = report.findings.filter((one) => one.kind === kind);
    const count = own.reduce((sum, one) => sum + one.count, 0);
    return h("details", {}, h("summary", {}, WORDS[kind] || kind, " ", badge(String(count)), " ", h("span", { cls: "quiet" }, own[0].detail)),
      own.slice(0, 30).map((one) => h("p", { cls: "ids" }, one.ids.map((id) => h("a", { cls: "id", href: to(["unit", id]) }, short(id))),
        one.count > one.ids.length && h("span", { cls: "quiet" }, ` and ${one.count - one.ids.length} more`))),
      own.length > 30 && h("p", { cls: "quiet" }, `and ${own.length - 30} more groups`));
  }), report.more > 0 && h("p", { cls: "quiet" }, `and ${report.more} more findings`)];
}

// A stretch at a time: the first broken entry ends it, changed memories are gathered.
async function checked(ask, told) {
  let changed = [], count = 0, found = { next: undefined };
  do {
    found = await ask("verify", found.next ? { cursor: found.next } : {});
    changed = changed.concat(found.changed_units).slice(0, 100);
    count += found.changed;
    told(`${many(found.entries, "entry", "entries")} followed …`);
  } while (found.next);
  return { ...found, changed_units: changed, changed: count, sound: found.sound && !count };
}

function verified(report) {
  return [
    h("p", {}, badge(report.sound ? "sound" : "broken", report.sound ? "correct" : "incorrect"), ` ${many(report.entries, "entry", "entries")}`),
    report.problem && h("p", { cls: "data" }, report.problem),
    report.changed_units.length > 0 && h("p", {}, "Changed outside the bank: ", report.changed_units.map((id) => h("a", { cls: "id", href: to(["unit", id]) }, short(id))),
      report.changed > report.changed_units.length && ` and ${report.changed - report.changed_units.length} more`),
    h("p", { cls: "quiet" }, "Head (keep it elsewhere, and a log cut short is noticed): ", data(report.head, "code")),
  ];
}

function state(health) {
  const row = (name, body) => [h("dt", {}, name), h("dd", {}, body)];
  return [
    health.problems.map((one) => h("div", { cls: "problem" }, h("p", { cls: "data" }, one))),
    h("dl", {}, row("Bank", data(health.path, "code")), row("Memories", health.units.toLocaleString("en")),
      row("Plan pairs", health.pairs.toLocaleString("en")), row("Size", `${(health.size_bytes / 2 ** 20).toFixed(1)} MiB`),
      row("Namespaces", data(health.namespaces.join(", ") || "–")), row("Embedder", data(health.embedder || "none yet", "code")),
      row("Schema", health.schema_version), row("Index", data(health.index)), row("Search", data(health.faiss))),
  ];
}
