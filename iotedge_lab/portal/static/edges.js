// Edge devices that run on this machine: modules, routes, queues and the store.
import { call, part } from "./calls.js";
import { drawn, look, watchHub } from "./live.js";
import { button, card, count, el, heading, json, more, number, refocus, state, table, toast, word } from "./dom.js";

// `brief`: what a narrow card has room for.
export function edgeCard(edge, refresh, { brief = false } = {}) {
  const id = edge.device;
  const here = `#/devices/${encodeURIComponent(id)}`;
  const title = el("h2", {}, el("a", { href: here }, id));
  if (edge.failure) return el("section", { class: "card" }, title, el("p", { class: "note bad" }, `It could not be started: ${edge.failure}`));
  const to = edge.online ? "offline" : "online";
  const link = edge.connected ? state("connected to the hub", "good")
    : state(edge.online ? edge.trouble || "not connected to the hub" : "cut off from the hub", "warn");
  const { code } = edge.desiredStatus ?? {};
  const rows = table(`Modules of ${id}`, [
    ["Name", (row) => row[0], "name"],
    ...(brief ? [] : [["Type", (row) => row[1]], ["Specified in deployment", (row) => yes(row[2])], ["Reported by device", (row) => yes(row[3])]]),
    ["Runtime status", (row) => state(row[4])],
    ["Exit code", (row) => (row[5] && row[5] !== "0" ? word(row[5], "bad") : row[5])],
    ["Log", (row) => logButton(id, row[0])],
  ], edge.rows, "No modules.");
  const routes = Object.entries(edge.routes ?? {});
  const waiting = word(`${count(edge.waiting, "message")} waiting`, edge.waiting ? "warn" : "soft");
  return el("section", { class: "card", "data-within": id },
    el("div", { class: "title" }, title, link,
      button(to === "offline" ? "Take offline" : "Bring online", async (event) => {
        event.target.disabled = true;
        try {
          await call("POST", `edges/${part(id)}/${to}`);
          toast(to === "offline" ? `${id} is cut off: its messages wait.` : `${id} may reach the hub again.`);
        } catch (error) { toast(error.message); event.target.disabled = false; }
        await refresh();
      })),
    el("p", { class: "soft" }, "Runtime response ", response(code, edge.desiredStatus?.description), " · ", waiting),
    rows, brief ? null : [
      routes.length ? [el("h3", {}, "Routes"), table(`Routes of ${id}`, [
        ["Route", ([name]) => name, "name"], ["Text", ([, route]) => el("code", {}, route), "wrap"]], routes, "")] : null,
      el("h3", {}, "Queues and store"),
      el("p", { class: "soft" }, `${count(edge.received, "message")} received, ${number(edge.unrouted)} without a route; what cannot be sent is kept for ${span(edge.timeToLiveSecs)}`),
      table(`Queues of ${id}`, [
        ["To", (each) => each.endpoint, "wrap"], ["From", (each) => each.source, "wrap"],
        ["Priority", (each) => (each.priority >= 2_000_000_000 ? "–" : number(each.priority)), "number"],
        ["Waiting", (each) => word(number(each.length), each.length ? "warn" : ""), "number"],
        ["Oldest", (each) => (each.length ? span(each.oldestSeconds) : "–"), "number"],
        ["Expired", (each) => number(each.expired), "number"], ["Refused", (each) => number(each.refused), "number"],
      ], edge.queues ?? [], "No message has taken a route yet."),
      more("All that the runtime says", json(edge, `Status of ${id}`))]);
}

// What Azure's portal calls the runtime response; 417 is a device to which nothing was deployed yet.
export function response(code, description) {
  if (!code) return word("none yet", "soft");
  if (code === 200) return state("200 – OK", "good");
  if (code === 417) return [state("417", "warn"), " Nothing was deployed to it yet."];
  return [state(String(code), "bad"), word(` ${description || "See the twin of $edgeAgent."}`, "wrap")];
}

const yes = (text) => (text === "yes" ? "Yes" : word("No", "warn"));

function span(seconds) {
  if (seconds < 120) return `${number(Math.round(seconds))} s`;
  return seconds < 7200 ? `${number(Math.round(seconds / 60))} min` : `${number(Math.round(seconds / 3600))} h`;
}

// The last lines of a module's log, in a dialogue that keeps up with it.
export function logButton(device, module) {
  return button("Log", async () => {
    const text = el("pre", { tabindex: "0", class: "log", role: "log", "aria-live": "off", "aria-label": `Log of ${module}` }, "Reading ...");
    const dialog = el("dialog", { class: "large", "aria-label": `Log of ${module}` },
      el("div", { class: "title" }, el("h2", {}, `Log of ${module}`), button("Close", () => dialog.close())), text);
    const before = document.activeElement;
    async function read() {
      try {
        const found = await call("GET", `edges/${part(device)}/logs/${part(module.replace(/^\$/, ""))}`);
        const follows = text.scrollTop + text.clientHeight > text.scrollHeight - 20;
        if (text.textContent === found && found) return;
        text.textContent = found || "It has written nothing yet.";
        if (follows) text.scrollTop = text.scrollHeight;
      } catch (error) { text.textContent = error.message; }
    }
    const timer = setInterval(read, 2000);
    dialog.addEventListener("close", () => { clearInterval(timer); dialog.remove(); refocus(before); });
    document.body.append(dialog);
    dialog.showModal();
    await read();
    text.scrollTop = text.scrollHeight;
  }, { class: "small", "data-key": `log ${module}`, "aria-label": `Log of ${module}` });
}

export async function showEdges(main, signal) {
  const place = el("div", { class: "stack" });
  main.append(heading("Edge devices"), place);
  const draw = drawn(place, (edges) => (edges.length ? edges.map((edge) => edgeCard(edge, look))
    : card(null, el("p", { class: "empty" }, "No edge device runs on this machine. ", el("code", {}, "lab.edge(\"car-edge\")"), " or ", el("code", {}, "iotedge-lab edge up"), " starts one."))));
  watchHub(({ edges }) => draw(edges), signal);
}
