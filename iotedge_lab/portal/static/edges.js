// Edge devices that run on this machine, and the hub's deployments.
import { call, get } from "./calls.js";
import { card, el, json, number, state, table, toast, word } from "./dom.js";

const COLUMNS = ["Name", "Type", "Specified in deployment", "Reported by device", "Runtime status", "Exit code"];

// `brief`: without the columns that a narrow card has no room for.
export function edgeCard(edge, refresh, brief = false) {
  const id = edge.device;
  const to = edge.online ? "offline" : "online";
  const link = edge.connected ? word("connected to the hub", "good")
    : word(edge.online ? edge.trouble || "not connected" : "cut off from the hub", "warn");
  const columns = COLUMNS.map((title, at) => [title, (row) => (at === 4 ? state(row[at]) : row[at])])
    .filter((_, at) => !brief || [0, 4, 5].includes(at));
  const routes = Object.entries(edge.routes ?? {});
  return card(id,
    el("div", { class: "row" }, link, word(`deployment ${edge.desiredStatus?.code}`, "soft"),
      word(`${number(edge.waiting)} messages waiting`, edge.waiting ? "warn" : "soft"),
      el("button", { type: "button", onclick: async (event) => {
        event.target.disabled = true;
        await call("POST", `edges/${encodeURIComponent(id)}/${to}`);
        toast(to === "offline" ? `${id} is cut off: its messages wait` : `${id} may reach the hub again`);
        await refresh();
      } }, to === "offline" ? "Take offline" : "Bring online")),
    table(`Modules of ${id}`, columns, edge.rows, "No modules."),
    routes.length ? [el("h3", {}, "Routes"), table(`Routes of ${id}`, [
      ["Route", ([name]) => name], ["Text", ([, route]) => el("code", {}, typeof route === "string" ? route : route.text ?? route.route ?? JSON.stringify(route)), "wrap"],
    ], routes, "")] : null,
    el("details", {}, el("summary", {}, "All that the runtime says"), json(edge)));
}

export async function showEdges(main, signal) {
  const place = el("div");
  main.append(el("h1", {}, "Edge devices"), place);
  async function refresh() {
    if (place.contains(document.activeElement) || place.querySelector("details[open]")) return;
    const edges = await get("edges");
    if (signal.aborted) return;
    place.replaceChildren(...(edges.length ? edges.map((edge) => edgeCard(edge, async () => { document.activeElement.blur(); await refresh(); }))
      : [card(null, el("p", { class: "empty" }, "No edge device runs on this machine. lab.edge(...) or 'iotedge-lab edge run' starts one."))]));
  }
  await refresh();
  const again = setInterval(() => refresh().catch((error) => toast(error.message)), 2000);
  signal.addEventListener("abort", () => clearInterval(again));
}

export async function showDeployments(main, signal) {
  const found = await get("configurations");
  if (signal.aborted) return;
  main.append(el("h1", {}, "Deployments and configurations"), card(null, table("Deployments", [
    ["Id", (each) => each.id, "wrap"],
    ["Priority", (each) => number(each.priority), "number"],
    ["For", (each) => el("code", {}, each.targetCondition || "nobody"), "wrap"],
    ["Content", (each) => Object.keys(each.content ?? {}).join(", ")],
    ["Targeted", (each) => number(each.systemMetrics?.results?.targetedCount), "number"],
    ["Applied", (each) => number(each.systemMetrics?.results?.appliedCount), "number"],
    ["", (each) => el("details", {}, el("summary", {}, "Show"), json(each))],
  ], found, "There is none. IoTHubConfigurationManager makes them.")));
}
