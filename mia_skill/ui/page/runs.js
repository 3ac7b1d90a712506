// Evaluations: which there are, their figures and report, their episodes, one episode in full.
import { h, to } from "./dom.js";
import { badge, choice, data, empty, many, mark, percent, section, short, table } from "./parts.js";

const GRADES = [["", "any grade"], ["correct", "correct"], ["incorrect", "incorrect"], ["not_attempted", "not attempted"], ["ungraded", "ungraded"], ["no_sample", "no sample"]];
const PAGE = 50;
const markOf = (grade) => mark(grade === "correct" || grade === "incorrect" ? grade : "pending");
const crumbs = (...links) => h("nav", { cls: "crumbs", "aria-label": "Where this is" },
  h("a", { href: to(["runs"]) }, "Evaluations"), links.map(([text, href]) => [" / ", h("a", { cls: "data", href }, text)]));

export async function runs({ ask }) {
  const found = await ask("runs");
  if (!found.runs.length) {
    return [h("h1", {}, "Evaluations"), empty(found.folders ? "These folders hold no traces yet." : "No folder was named.",
      "Start the page with ", h("code", {}, "mia ui --traces FOLDER"), ", where FOLDER is the --out of ", h("code", {}, "mia eval run"), " or holds such folders.")];
  }
  return [h("h1", {}, "Evaluations"), h("ul", { cls: "plainlist cards" }, found.runs.map((one) =>
    h("li", { cls: "card" }, h("a", { cls: "title data", href: to(["run", one.run]) }, one.run),
      h("p", { cls: "meta" }, many(one.traces, "trace"), one.report && h("a", { href: to(["report", one.run]) }, "report")))))];
}

export async function run({ path, asked, ask }) {
  const name = path[0] || "";
  const found = await ask("run", { run: name });
  const trace = asked.trace || (found.traces[0] || {}).trace;
  return [crumbs(), h("h1", { cls: "data" }, name),
    found.problem && h("div", { cls: "problem" }, h("p", { cls: "data" }, found.problem)),
    found.summary && section("Methods", figures(found.summary), h("p", {}, h("a", { href: to(["report", name]) }, "The whole report"))),
    trace ? section("Episodes", await episodes(name, trace, found.traces, asked, ask)) : empty("There is no trace yet.")];
}

function figures(summary) {
  return [h("p", { cls: "quiet data" }, `${summary.setup.dataset}, ${many(summary.setup.tasks, "question")}`),
    table(["method", "right", "95 %", "graded", "no sample", "searches", "calls", "tokens"], summary.lines.map((line) => [
      data(line.method), percent(line.accuracy), `${percent(line.low)} to ${percent(line.high)}`, line.graded, line.no_sample,
      line.searches.toFixed(2), line.calls.toFixed(2), Math.round(line.tokens)]))];
}

async function episodes(name, trace, traces, asked, ask) {
  const go = (change) => { location.hash = to(["run", name], { ...asked, from: "", ...change }); };
  const offset = Number(asked.from) || 0;
  const page = await ask("episodes", { run: name, trace, text: asked.text || "", offset, limit: PAGE, ...(asked.grade ? { grade: asked.grade } : {}) });
  const field = h("input", { id: "search", type: "search", value: asked.text || "", placeholder: "Words in question or answer", "aria-label": "Search episodes" });
  return [
    h("form", { cls: "line", role: "search", onsubmit: (event) => { event.preventDefault(); go({ text: field.value }); } },
      choice("Trace", "trace", traces.map((one) => [one.trace, one.trace.replace(/^trace\.|\.jsonl$/g, "")]), trace, (value) => go({ trace: value })),
      choice("Grade", "grade", GRADES, asked.grade, (grade) => go({ grade })), field, h("button", {}, "Search")),
    page.broken.map((line) => h("div", { cls: "problem" }, h("p", {}, `${line}; the others are shown`))),
    h("p", { cls: "quiet" }, `${many(page.total, "episode")} of ${page.all.toLocaleString("en")}`),
    page.episodes.length
      ? table(["#", "grade", "question", "answer", "searches"], page.episodes.map((one) => [
        one.position + 1, [markOf(one.grade), " ", one.grade.replace("_", " ")],
        h("a", { cls: "data", dir: "auto", href: to(["episode", name, trace, one.task]) }, one.question || one.task),
        one.error && !one.answer ? data(one.error, "span", "quiet") : data(one.answer), one.searches]))
      : empty("No episode is like that."),
    h("nav", { cls: "pager", "aria-label": "Pages of episodes" },
      offset > 0 && h("a", { href: to(["run", name], { ...asked, from: String(Math.max(0, offset - PAGE)) }) }, "Before"),
      offset + PAGE < page.total && h("a", { href: to(["run", name], { ...asked, from: String(offset + PAGE) }) }, "Next")),
  ];
}

export async function episode({ path, ask }) {
  const [name, trace, task] = path;
  const { row } = await ask("episode", { run: name || "", trace: trace || "", task: task || "" });
  const attempt = row.attempt;
  const spent = row.usage;
  return [
    crumbs([name, to(["run", name])], [trace.replace(/^trace\.|\.jsonl$/g, ""), to(["run", name], { trace })]),
    h("div", { cls: "head" }, markOf(row.grade), h("h1", { cls: "data", dir: "auto" }, row.question)),
    h("p", { cls: "meta" }, badge(row.status === "no_sample" ? "no sample" : row.grade.replace("_", " "), row.grade), row.graded_by && h("span", {}, "graded by ", data(row.graded_by)),
      row.evidence && h("span", {}, "evidence says ", data(row.evidence)), h("span", {}, `F1 ${row.f1.toFixed(2)}`),
      h("span", {}, `${many(spent.calls, "call")}, ${many(spent.prompt_tokens + spent.completion_tokens, "token")}, ${many(spent.searches, "search", "searches")}, ${spent.seconds.toFixed(1)} s`)),
    row.error && h("div", { cls: "problem" }, h("p", { cls: "data" }, row.error)),
    h("div", { cls: "pair" },
      section("Answer", attempt && attempt.trajectory.answer ? data(attempt.trajectory.answer, "pre", "text") : h("p", { cls: "quiet" }, "none")),
      section("Expected", h("ul", { cls: "plainlist" }, row.gold.map((one) => h("li", {}, data(one)))))),
    row.shown.length > 0 && section("Memory shown", h("p", { cls: "ids" }, row.shown.map((id) => data(short(id), "span", "id")))),
    attempt && attempt.plan && section(attempt.replanned ? "Plan, after the replan" : "Plan", data(attempt.plan, "pre", "text")),
    attempt && section(`Steps (${attempt.trajectory.steps.length})`, h("ol", { cls: "steps" }, attempt.trajectory.steps.map(step)),
      h("p", { cls: "quiet" }, `stopped: ${attempt.trajectory.stop.replace(/_/g, " ")}`)),
  ];
}

function step(one) {
  return h("li", {},
    h("p", {}, badge(one.tool), " ", data(one.query, "strong")),
    one.thought && data(one.thought, "p", "quiet"),
    one.error && h("div", { cls: "problem" }, h("p", { cls: "data" }, one.error)),
    one.observation && data(one.observation, "pre", "text"),
    one.passages.length > 0 && h("details", {}, h("summary", {}, many(one.passages.length, "passage")),
      one.passages.map((passage) => h("div", { cls: "passage" }, h("p", {}, data(passage.title || passage.id, "strong"), " ", data(passage.id, "span", "id"),
        " ", badge(passage.origin.replace("_", " "))), data(passage.text, "p")))));
}

export async function report({ path, ask }) {
  const name = path[0] || "";
  const { path: address } = await ask("report", { run: name });
  return [crumbs([name, to(["run", name])]), h("h1", { cls: "data" }, `Report: ${name}`),
    h("p", {}, h("a", { href: address, target: "_blank", rel: "noopener" }, "Open it alone")),
    h("iframe", { cls: "report", src: address, title: `Report of ${name}`, sandbox: "" })];
}
