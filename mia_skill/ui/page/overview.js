// Counts, lift, and what happened last.
import { h, to } from "./dom.js";
import { empty, logTable, many, percent, section, tile } from "./parts.js";
import { forest, legend, stacked } from "./charts.js";

const KINDS = [["correct", "successes"], ["incorrect", "failures"], ["pending", "pending"],
  ["quarantined", "quarantined"], ["withheld", "withheld"], ["revoked", "revoked"]];
const kindOf = (row) => (row.status === "active" ? row.outcome || "pending" : row.status);
const sum = (rows, what = "units") => rows.reduce((all, row) => all + row[what], 0);

export async function overview({ session, ask }) {
  const { census, namespaces, more_namespaces: more, lift, log } = await ask("overview");
  const units = sum(census);
  if (!units) {
    return [h("h1", {}, "Overview"), empty("This memory is empty.",
      "An agent fills it: ", h("code", {}, "mia install claude-code"), " brings the memory into a host, ",
      h("code", {}, "mia memory import FILE"), " takes in an export, and ", h("code", {}, "mia memory add"), " writes one by hand.")];
  }
  const of = (kind) => sum(census.filter((row) => kindOf(row) === kind));
  const uses = sum(census, "uses");
  const links = { correct: { outcome: "correct", status: "active" }, incorrect: { outcome: "incorrect", status: "active" } };
  return [
    h("h1", {}, "Overview"),
    h("div", { cls: "tiles" },
      tile("memories", units, "all", to(["units"])),
      KINDS.filter(([kind]) => of(kind) || kind === "correct" || kind === "incorrect").map(([kind, word]) =>
        tile(word, of(kind), kind, kind === "pending" ? undefined
          : kind === "quarantined" ? to(["review"]) : to(["units"], links[kind] || { status: kind }))),
      tile(uses ? `right of ${many(uses, "use")}` : "uses", uses ? percent(sum(census, "wins") / uses) : 0, "uses")),
    section("Outcomes by namespace", outcomes(namespaces, more)),
    section("Does memory help?", liftBody(lift, session)),
    section("Latest changes", log.entries.length ? logTable(log.entries) : h("p", { cls: "quiet" }, "nothing yet"),
      h("p", {}, h("a", { href: to(["audit"]) }, "The whole log"))),
  ];
}

function outcomes(census, more) {
  const names = [...new Set(census.map((row) => row.namespace))];
  const rows = names.map((namespace) => {
    const own = census.filter((row) => row.namespace === namespace);
    return {
      label: namespace,
      href: to(["units"], { namespace }),
      parts: KINDS.map(([kind, word]) => ({ kind, word, count: sum(own.filter((row) => kindOf(row) === kind)) })),
    };
  });
  const seen = KINDS.filter(([kind]) => census.some((row) => kindOf(row) === kind));
  return [legend(seen), stacked(rows, "units by outcome"), more > 0 && h("p", { cls: "quiet" }, `and ${many(more, "smaller namespace")}`)];
}

function liftBody(lift, session) {
  const about = h("p", { cls: "quiet" },
    `${many(lift.trials, "judged task")}, ${lift.randomised.toLocaleString("en")} of them drawn by chance. `,
    "The line is the success rate with memory less the rate without it; the bar around it is its 95 % interval.");
  if (!lift.rows.length) {
    return [about, empty("Nothing is known yet.", session.withhold
      ? `A share of ${session.withhold} of the tasks goes without memory, from the 20th judged task of a namespace on: their outcomes will stand here.`
      : "memory.withhold is 0, so nothing is measured.")];
  }
  const parts = [["namespace", "Namespaces"], ["category", "Categories"], ["unit", "Memories with the most outcomes"]];
  return [about, parts.map(([scope, title]) => {
    const rows = lift.rows.filter((row) => row.scope === scope);
    return rows.length ? [h("h3", {}, title), forest(rows)] : null;
  })];
}
