import { drawn, watchHub, look } from "./live.js";
import { card, count, el, facts, heading, json, more, number, table, when } from "./dom.js";
import { edgeCard } from "./edges.js";
import { perSecond, seen } from "./feed.js";
import { messageList } from "./messages.js";

const NAMES = {
  devices: "Devices", connected: "Connected", disabled: "Disabled", messages: "Messages kept",
  totalDeviceCount: "Devices", enabledDeviceCount: "Enabled", disabledDeviceCount: "Disabled",
};
const SVG = "http://www.w3.org/2000/svg"; // a name and no address: nothing is loaded from there

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// The last minute, a bar a second.
function spark() {
  const bars = Array.from({ length: 60 }, (_, at) => svg("rect", { x: at * 4, width: 3, y: 31, height: 1, rx: 0.5 }));
  const place = svg("svg", { viewBox: "0 0 240 32", class: "spark", "aria-hidden": "true", preserveAspectRatio: "none" });
  place.append(...bars);
  return { place, draw(values) {
    const top = Math.max(1, ...values);
    values.forEach((value, at) => {
      const height = value ? Math.max(2, (value / top) * 32) : 1;
      bars[at].setAttribute("height", height);
      bars[at].setAttribute("y", 32 - height);
      bars[at].setAttribute("class", value ? "on" : "");
    });
  } };
}

export async function showOverview(main, signal) {
  const tiles = el("dl", { class: "tiles" });
  const rate = el("span", {}, "0");
  const bars = spark();
  const rateTile = el("div", { class: "tile wide" }, el("dt", {}, "Messages a second"), el("dd", { class: "rate" }, rate, bars.place));
  const edges = el("div", { class: "stack" });
  const all = el("div");
  main.append(heading("Overview"), tiles, el("div", { class: "grid" }, edges,
    card("Latest messages", messageList(signal, { limit: 12, empty: "Nothing has arrived yet. What devices send appears here at once." }))), all);

  const drawTiles = drawn(tiles, (hub) => [...Object.entries(NAMES).filter(([name]) => typeof hub[name] === "number")
    .map(([name, title]) => el("div", { class: "tile" }, el("dt", {}, title), el("dd", {}, number(hub[name])))), rateTile]);
  const drawEdges = drawn(edges, (found) => (found.length ? found.map((edge) => edgeCard(edge, look, { brief: true }))
    : card("Edge devices", el("p", { class: "empty" }, "No edge device runs on this machine. ", el("code", {}, "lab.edge(\"car-edge\")"), " or ", el("code", {}, "iotedge-lab edge up"), " starts one."))));
  const drawHub = drawn(all, (hub) => card("Hub and store", facts(["Version", hub.version], ["Started", hub.started ? when(new Date(hub.started * 1000).toISOString()) : ""],
    ["Built-in endpoint", hub.events], ["Consumer groups", hub.consumerGroups?.join(", ")]),
  hub.partitions ? table("Partitions of the built-in endpoint", [
    ["Partition", (each) => each.id], ["First kept", (each) => (each.last < each.first ? "–" : number(each.first)), "number"],
    ["Last", (each) => (each.last < 0 ? "–" : number(each.last)), "number"], ["Messages kept", (each) => number(each.last - each.first + 1), "number"],
  ], hub.partitions, "") : null, more("All that the hub says", json(hub, "Status of the hub"))));

  watchHub(({ hub, edges: found }) => {
    if (hub) { drawTiles(hub); drawHub(hub); }
    drawEdges(found);
  }, signal);
  function draw() {
    const values = perSecond(60);
    const lately = values.slice(-5).reduce((sum, each) => sum + each, 0) / 5;
    const text = lately >= 10 ? number(Math.round(lately)) : String(Math.round(lately * 10) / 10);
    if (rate.textContent !== text) rate.textContent = text;
    bars.draw(values);
    rateTile.title = `${count(seen.total, "message")} since this page was opened`;
  }
  draw();
  const again = setInterval(draw, 1000);
  signal.addEventListener("abort", () => clearInterval(again));
}
