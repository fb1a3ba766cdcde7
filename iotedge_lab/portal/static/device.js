// One device: what it is, its modules, and a page each for its twin, its methods, its messages.
import { call, device as path, get } from "./calls.js";
import { drawn, every, staleLine, watchHub } from "./live.js";
import { ask, button, card, el, facts, heading, json, more, number, state, table, toast, when, word } from "./dom.js";
import { messageCard, methodCard } from "./actions.js";
import { logButton, response } from "./edges.js";
import { messageList } from "./messages.js";
import { twinCard } from "./twin.js";

const PARTS = [["", "Device"], ["twin", "Twin"], ["method", "Direct method"], ["message", "Message to device"], ["telemetry", "Telemetry"]];

export async function showDevice(main, id, [part = "", module = ""], signal) {
  const here = `#/devices/${encodeURIComponent(id)}`;
  let found = await get(path(id), signal);
  if (signal.aborted) return;
  const status = el("span", { class: "states" });
  const acts = el("div", { class: "row" });
  const stale = staleLine();
  const gone = el("div", { role: "alert" });
  const place = el("div");
  const shown = PARTS.some(([name]) => name === part) ? part : "";
  main.append(
    el("p", { class: "crumb" }, el("a", { href: "#/devices" }, "Devices"), " / ", word(id, "wrap")),
    heading(id, status, acts),
    el("nav", { class: "parts", "aria-label": `Parts of ${id}` }, el("ul", {}, PARTS.map(([name, text]) =>
      el("li", {}, el("a", { href: name ? `${here}/${name}` : here, "aria-current": name === shown ? "page" : null }, text))))),
    gone, stale.place, place);

  const drawStatus = drawn(status, ({ identity, runtime }) => [
    identity.capabilities?.iotEdge ? word("edge", "chip") : null, state(identity.status),
    runtime ? null : state(identity.connectionState)]);
  const drawActs = drawn(acts, (now) => [
    button(now === "enabled" ? "Disable" : "Enable", async () => {
      const to = now === "enabled" ? "disabled" : "enabled";
      if (to === "disabled" && !(await ask(`Disable ${id}? It is disconnected and refused until it is enabled again.`, "Disable"))) return;
      await call("PUT", `${path(id)}/status`, { status: to });
      toast(`${id} is ${to}.`);
      await refresh();
    }),
    button("Delete", async () => {
      if (!(await ask(`Delete ${id}, with its twin, its modules and the messages that wait for it?`, "Delete"))) return;
      await call("DELETE", path(id));
      toast(`${id} is deleted.`);
      location.hash = "#/devices";
    }, { class: "danger" })]);

  const views = { "": () => overview(place, id, here, signal), twin: () => twinCard(place, id, module, found, signal),
    method: () => methodCard(place, id, module, found), message: () => messageCard(place, id), telemetry: () => telemetry(place, id, signal) };
  const update = views[shown]() ?? (() => {});

  async function refresh() {
    let now;
    try {
      now = await get(path(id), signal);
    } catch (error) {
      if (error.status !== 404) throw error;
      if (!gone.children.length) {
        gone.append(el("p", { class: "note bad" }, `${id} has been deleted meanwhile. What is shown is what was last known. `, el("a", { href: "#/devices" }, "All devices")));
        for (const control of main.querySelectorAll("button, input, select, textarea")) control.disabled = true;
      }
      return;
    }
    if (signal.aborted) return;
    if (gone.children.length) { gone.replaceChildren(); for (const control of main.querySelectorAll("button, input, select, textarea")) control.disabled = false; }
    found = now;
    drawStatus(found);
    drawActs(found.identity.status);
    update(found);
  }
  drawStatus(found);
  drawActs(found.identity.status);
  update(found);
  await every(3, signal, async () => { if (found) await refresh(); }, stale.note);
}

function overview(place, id, here, signal) {
  const local = { running: false };
  const identityPlace = el("div");
  const modulesPlace = el("div", { "data-within": "modules" });
  place.append(modulesPlace, identityPlace);
  const drawModules = drawn(modulesPlace, ({ deployed, runtime, modules, running }) => [
    deployed ? card("Modules", runtimeLine(runtime), table(`Modules of ${id}`, [
      ["Name", (row) => el("a", { href: `${here}/twin/${encodeURIComponent(row.name)}` }, row.name), "name"],
      ["Type", (row) => row.type],
      ["Specified in deployment", (row) => (row.specified ? "Yes" : word("No", "warn"))],
      ["Reported by device", (row) => (row.reported ? "Yes" : word("No", "warn"))],
      ["Runtime status", (row) => state(row.runtimeStatus)],
      ["Exit code", (row) => (row.exitCode ? word(String(row.exitCode), "bad") : row.exitCode ?? "")],
      ...(running ? [["Log", (row) => logButton(id, row.name)]] : []),
    ], deployed, "Nothing was deployed to it yet. 'iotedge-lab edge deploy' or apply_configuration_on_edge_device does it."),
    deployed.length ? more("Images", table("Images", [["Name", (row) => row.name, "name"], ["Image", (row) => el("code", {}, row.image), "wrap"]], deployed, "")) : null) : null,
    !deployed && modules.length ? card("Module identities", table("Module identities", [
      ["Name", (each) => el("a", { href: `${here}/twin/${encodeURIComponent(each.moduleId)}` }, each.moduleId), "wrap"],
      ["Connection", (each) => state(each.connectionState)], ["Last activity", (each) => when(each.lastActivityTime)],
    ], modules, "")) : null]);
  const drawIdentity = drawn(identityPlace, ({ identity, waiting, version }) => card("Identity", facts(
    ["Connection", identity.capabilities?.iotEdge ? "" : state(identity.connectionState)], ["Last activity", when(identity.lastActivityTime)],
    ["Authentication", identity.authentication?.type], ["Messages waiting for it", number(waiting ?? 0)], ["Twin version", number(version)],
    ["Parent", identity.parentScopes?.join(", ")]),
  el("p", { class: "hint" }, "Its connection string: ", el("code", {}, `iotedge-lab device connection-string ${id}`), ". Keys are not shown here."),
  more("All of the identity", json(identity, "Identity"))));
  watchHub(({ edges }) => { local.running = edges.some((edge) => edge.device === id && !edge.failure); }, signal);
  return ({ identity, twin, modules, deployed, runtime }) => {
    drawModules({ deployed, runtime, modules: modules.map(({ moduleId, connectionState, lastActivityTime }) => ({ moduleId, connectionState, lastActivityTime })), running: local.running });
    drawIdentity({ identity, waiting: twin.cloudToDeviceMessageCount, version: twin.version });
  };
}

function runtimeLine({ code, description, current }) {
  if (code === null || code === undefined) return el("p", { class: "note warn" }, "The edge runtime of this device has not reported yet.");
  return el("p", {}, "Runtime response ", response(code, description), current ? "" : word(" for an older deployment; the newest is on its way", "warn"));
}

function telemetry(place, id, signal) {
  place.append(card(null, messageList(signal, { device: id, tools: true, empty: `Nothing has arrived from ${id} yet. What it sends appears here at once.` })));
}

