// Charts as SVG elements: they take the colours of the page, light and dark.
import { h, s, to } from "./dom.js";
import { many, short } from "./parts.js";

const cutAt = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

// A bar a row, in parts: [{label, href, parts: [{kind, count}]}].
export function stacked(rows, label) {
  const most = Math.max(1, ...rows.map((row) => row.parts.reduce((sum, part) => sum + part.count, 0)));
  return h("ul", { cls: "bars", "aria-label": label }, rows.map((row) => {
    const all = row.parts.reduce((sum, part) => sum + part.count, 0);
    let x = 0;
    return h("li", {},
      h("a", { cls: "name data", href: row.href }, row.label),
      s("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", role: "img",
        "aria-label": row.parts.filter((one) => one.count).map((one) => `${one.count} ${one.word}`).join(", ") },
      row.parts.filter((one) => one.count).map((one) => {
        const width = (one.count / most) * 100;
        const rect = s("rect", { cls: "part " + one.kind, x, width, height: 4 }, s("title", {}, `${one.word}: ${one.count}`));
        x += width;
        return rect;
      })),
      h("span", { cls: "count" }, many(all, "unit")));
  }));
}

export const legend = (kinds) => h("ul", { cls: "legend" }, kinds.map(([kind, word]) =>
  h("li", {}, h("span", { cls: "dot " + kind, "aria-hidden": "true" }), word)));

// Success with memory less success without, and its interval, a row each; zero in the middle.
export function forest(rows) {
  const known = rows.filter((row) => row.lift);
  const reach = Math.min(1, Math.max(0.1, ...known.map((row) => Math.max(Math.abs(row.lift.low), Math.abs(row.lift.high)))));
  const at = (value) => 50 + (Math.max(-reach, Math.min(reach, value)) / reach) * 48;
  return h("div", { cls: "forest" },
    h("div", { cls: "axis", "aria-hidden": "true" }, h("span", {}, "memory harms"), h("span", {}, "0"), h("span", {}, "memory helps")),
    h("ul", {}, rows.map((row) => {
      const { tally, lift } = row;
      const sign = !lift ? "unknown" : lift.low > 0 ? "good" : lift.high < 0 ? "bad" : "open";
      const said = lift ? `${signed(lift.value)} (${signed(lift.low)} to ${signed(lift.high)})` : "not known yet";
      return h("li", {},
        row.scope === "unit"
          ? h("a", { cls: "name id", href: to(["unit", row.key]) }, short(row.key))
          : h("span", { cls: "name data" }, cutAt(row.key, 40)),
        s("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": said },
          s("line", { cls: "zero", x1: 50, x2: 50, y1: 0, y2: 10 }),
          lift && s("line", { cls: "interval " + sign, x1: at(lift.low), x2: at(lift.high), y1: 5, y2: 5 }),
          lift && s("line", { cls: "middle " + sign, x1: at(lift.value), x2: at(lift.value), y1: 2, y2: 8 })),
        h("span", { cls: "said" }, said, row.withheld_now && h("span", { cls: "badge withheld" }, "withheld")),
        h("span", { cls: "quiet counts" }, `with ${tally.shown_wins}/${tally.shown} · without ${tally.withheld_wins}/${tally.withheld}`));
    })));
}

export const signed = (value) => (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(2);

const WIDE = 190, HIGH = 46, GAP_X = 70, GAP_Y = 14, ROWS = 7;

// Ancestors to the left, what was made in its sight to the right.
export function lineage(unit, ancestors, children) {
  const columns = new Map([[0, [{ ...unit, self: true }]]]);
  const place = (depth, node) => columns.set(depth, [...(columns.get(depth) || []), node]);
  for (const one of ancestors) place(-one.depth, one);
  for (const one of children) place(1, { ...one, parents: [unit.id] });
  const depths = [...columns.keys()].sort((one, other) => one - other);
  const tall = Math.max(...depths.map((depth) => Math.min(ROWS, columns.get(depth).length) + (columns.get(depth).length > ROWS ? 1 : 0)));
  const height = tall * (HIGH + GAP_Y) + GAP_Y;
  const width = depths.length * (WIDE + GAP_X) - GAP_X + 4;
  const spots = new Map();
  const nodes = [];
  depths.forEach((depth, column) => {
    const held = columns.get(depth);
    const shown = held.slice(0, ROWS);
    const rows = shown.length + (held.length > ROWS ? 1 : 0);
    const top = (height - rows * (HIGH + GAP_Y) + GAP_Y) / 2;
    shown.forEach((one, row) => {
      const spot = { x: 2 + column * (WIDE + GAP_X), y: top + row * (HIGH + GAP_Y) };
      spots.set(one.id, spot);
      nodes.push(node(one, spot));
    });
    if (held.length > ROWS) nodes.push(s("text", { cls: "more", x: 8 + column * (WIDE + GAP_X), y: top + shown.length * (HIGH + GAP_Y) + 20 },
      `and ${held.length - ROWS} more`));
  });
  const edges = [];
  for (const one of [...columns.values()].flat()) {
    for (const parent of one.parents || []) {
      const from = spots.get(parent), end = spots.get(one.id);
      if (from && end) edges.push(edge(from, end));
    }
  }
  return h("div", { cls: "scroll", tabindex: 0, role: "region", "aria-label": "lineage" },
    s("svg", { cls: "lineage", viewBox: `0 0 ${width} ${height}`, width, height }, edges, nodes));
}

function node(one, { x, y }) {
  const gone = one.question === null || one.question === undefined;
  const kind = gone ? "gone" : one.status && one.status !== "active" ? one.status : one.outcome || "pending";
  const name = gone ? "forgotten" : one.question;
  const inner = [
    s("rect", { x, y, width: WIDE, height: HIGH, rx: 8 }),
    s("rect", { cls: "stripe", x, y: y + 6, width: 4, height: HIGH - 12, rx: 2 }),
    s("text", { cls: "name", x: x + 14, y: y + 19 }, cutAt(name, 27)),
    s("text", { cls: "under", x: x + 14, y: y + 36 }, cutAt(`${short(one.id)}  ${one.status || ""}`, 32)),
    s("title", {}, name),
  ];
  const cls = `node ${kind}${one.self ? " self" : ""}`;
  return one.self || gone ? s("g", { cls }, inner) : s("a", { cls, href: to(["unit", one.id]) }, inner);
}

function edge(from, end) {
  const x1 = from.x + WIDE, y1 = from.y + HIGH / 2, x2 = end.x, y2 = end.y + HIGH / 2, bend = (x2 - x1) / 2;
  return s("path", { cls: "edge", d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}` });
}
