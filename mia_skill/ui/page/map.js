// A sample of the bank in a plane.
import { h, s, put, to } from "./dom.js";
import { choice, data, empty, many, mark, statusBadge, value, wordOf } from "./parts.js";
import { legend } from "./charts.js";

const WIDTH = 900, HEIGHT = 560, EDGE = 18;
const COLOURS = 8;

export async function map({ asked, ask }) {
  const by = asked.by === "question" ? "question" : "procedure";
  const colour = asked.colour || "outcome";
  const drawn = await ask("map", { by, ...(asked.namespace ? { namespace: asked.namespace } : {}) });
  const go = (change) => { location.hash = to(["map"], { ...asked, ...change }); };
  const head = [h("h1", {}, "Map"),
    h("div", { cls: "line" },
      choice("Near means", "by", [["procedure", "same kind of question"], ["question", "same meaning"]], by, (value) => go({ by: value })),
      choice("Colour", "colour", [["outcome", "outcome"], ["status", "status"], ["namespace", "namespace"], ["category", "category"]], colour, (value) => go({ colour: value })))];
  const { points, total, without } = drawn;
  if (points.length < 2) {
    return [head, empty("There is no map yet.", without
      ? `${many(without, "memory", "memories")} have no vector of this kind: choose "same meaning", or run mia memory reembed.`
      : "It needs at least two memories.")];
  }
  const kinds = kindsOf(points, colour);
  const panel = h("div", { cls: "panel", "aria-live": "polite" }, h("p", { cls: "quiet" }, "Point at a dot, or move with the arrow keys; Enter opens it."));
  return [head,
    h("p", { cls: "quiet" }, points.length < total ? `${points.length.toLocaleString("en")} of ${many(total, "memory", "memories")}, drawn evenly. ` : `All ${many(total, "memory", "memories")}. `,
      by === "procedure" ? "Names, numbers and quotations are masked, so questions of one kind lie together. " : "",
      without > 0 && `${without} without a vector are left out. `, "Neighbours are alike; distances between far groups mean nothing."),
    legend([...kinds].map(([name, kind]) => [kind, name])),
    h("div", { cls: "mapbox" }, plot(points, (point) => kinds.get(nameOf(point, colour)) || "other", panel), panel)];
}

const nameOf = (point, colour) => (colour === "outcome" ? wordOf(point.outcome || "pending") : point[colour]);

function kindsOf(points, colour) {
  const fixed = { success: "correct", failure: "incorrect", pending: "pending" };
  const counts = new Map();
  for (const point of points) counts.set(nameOf(point, colour), (counts.get(nameOf(point, colour)) || 0) + 1);
  const names = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
  const kinds = new Map(names.slice(0, COLOURS).map((name, place) =>
    [name, colour === "outcome" ? fixed[name] : colour === "status" ? (name === "active" ? "c0" : name) : "c" + place]));
  return kinds;
}

function plot(points, kindOf, panel) {
  const at = (point) => [EDGE + point.x * (WIDTH - 2 * EDGE), EDGE + (1 - point.y) * (HEIGHT - 2 * EDGE)];
  const dots = points.map((point, place) => {
    const [cx, cy] = at(point);
    return s("circle", { cls: `point ${kindOf(point)}`, cx, cy, r: 4.5 + Math.min(5, Math.sqrt(point.uses)), "data-place": place },
      s("title", {}, point.question));
  });
  let here = -1;
  function look(place) {
    if (dots[here]) dots[here].classList.remove("here");
    here = place;
    dots[here].classList.add("here");
    const point = points[here];
    put(panel, h("p", {}, mark(point.outcome || "pending"), " ", h("a", { cls: "data title", dir: "auto", href: to(["unit", point.id]) }, point.question)),
      h("p", { cls: "meta" }, statusBadge(point.status), data(point.namespace), value(point)));
  }
  const svg = s("svg", { cls: "map", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: "application",
    "aria-label": `map of ${points.length} memories; arrow keys move, Enter opens`,
    onpointerover: (event) => { if (event.target.dataset.place) look(Number(event.target.dataset.place)); },
    onclick: (event) => { if (event.target.dataset.place) location.hash = to(["unit", points[event.target.dataset.place].id]); },
    onkeydown: (event) => {
      const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (event.key === "Enter" && here >= 0) location.hash = to(["unit", points[here].id]);
      if (!way) return;
      event.preventDefault();
      look(here < 0 ? 0 : next(points, here, way));
    } }, dots);
  return svg;
}

// The nearest dot in a direction; stays where there is none.
function next(points, here, [x, y]) {
  let best = here, least = Infinity;
  points.forEach((point, place) => {
    const dx = point.x - points[here].x, dy = point.y - points[here].y;
    const along = dx * x + dy * y, aside = Math.abs(dx * y) + Math.abs(dy * x);
    if (place !== here && along > 1e-6 && along + 2 * aside < least) [best, least] = [place, along + 2 * aside];
  });
  return best;
}
