import { follow, get } from "./calls.js";
import { card, el, json, number } from "./dom.js";
import { edgeCard } from "./edges.js";
import { messageItem } from "./messages.js";

const NAMES = {
  devices: "devices", connected: "connected", connections: "connections", messages: "messages kept",
  totalDeviceCount: "devices", enabledDeviceCount: "enabled", disabledDeviceCount: "disabled",
};

export async function showOverview(main, signal) {
  const tiles = el("dl", { class: "tiles" });
  const all = el("div");
  const rate = el("dd", {}, "0");
  const edges = el("div");
  const latest = el("ol", { class: "events" });
  const nothing = el("p", { class: "empty" }, "Nothing has arrived since this page was opened.");
  main.append(el("h1", {}, "Overview"), tiles,
    el("div", { class: "grid" }, edges, card("Latest messages", nothing, latest)),
    el("details", { class: "card after" }, el("summary", {}, "All that the hub says"), all));

  async function refresh() {
    const found = await get("overview");
    if (signal.aborted) return;
    const facts = Object.entries(NAMES).filter(([name]) => typeof found.hub[name] === "number");
    tiles.replaceChildren(...facts.map(([name, title]) =>
      el("div", { class: "tile" }, el("dt", {}, title), el("dd", {}, number(found.hub[name])))),
    el("div", { class: "tile" }, el("dt", {}, "messages a second"), rate));
    all.replaceChildren(json(found.hub));
    // A button that has the focus keeps it.
    if (edges.contains(document.activeElement) || edges.querySelector("details[open]")) return;
    edges.replaceChildren(...(found.edges.length ? found.edges.map((edge) => edgeCard(edge, async () => { document.activeElement.blur(); await refresh(); }, true))
      : [card("Edge devices", el("p", { class: "empty" }, "No edge device runs here. lab.edge(...) starts one."))]));
  }

  const recent = [];
  follow(({ events, skipped }) => {
    recent.push([performance.now(), events.length + skipped]);
    while (recent.length && performance.now() - recent[0][0] > 5000) recent.shift();
    rate.textContent = number(Math.round(recent.reduce((sum, [, count]) => sum + count, 0) / 5));
    if (!events.length) return;
    nothing.hidden = true;
    latest.prepend(...events.slice(-8).reverse().map(messageItem));
    while (latest.children.length > 8) latest.lastChild.remove();
  }, signal);
  await refresh();
  const again = setInterval(() => refresh().catch(() => {}), 2000);
  signal.addEventListener("abort", () => clearInterval(again));
}
