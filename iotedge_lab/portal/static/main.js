// Which view is shown: #/, #/devices, #/devices/ID, #/edges, #/deployments, #/messages.
import { get, Refused } from "./calls.js";
import { card, el, number, toast } from "./dom.js";
import { showDevice, showDevices } from "./devices.js";
import { showDeployments, showEdges } from "./edges.js";
import { showMessages } from "./messages.js";
import { showOverview } from "./overview.js";

const VIEWS = [
  ["", "Overview", showOverview],
  ["devices", "Devices", showDevices],
  ["edges", "Edge devices", showEdges],
  ["deployments", "Deployments", showDeployments],
  ["messages", "Messages", showMessages],
];
const main = document.getElementById("main");
let leaving = new AbortController();

function paint() {
  leaving.abort();
  leaving = new AbortController();
  const [name = "", id] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const [, title, show] = VIEWS.find(([view]) => view === name) ?? VIEWS[0];
  document.getElementById("views").replaceChildren(...VIEWS.map(([view, text]) =>
    el("li", {}, el("a", { href: `#/${view}`, "aria-current": view === name ? "page" : null }, text))));
  document.title = `${id ?? title} - IoT Edge Lab`;
  main.replaceChildren();
  const signal = leaving.signal;
  const shown = name === "devices" && id ? showDevice(main, id, signal) : show(main, signal);
  shown.catch((error) => {
    if (signal.aborted) return;
    main.replaceChildren(card(error instanceof Refused && error.status === 401 ? "Not allowed" : "That did not work",
      el("p", { role: "alert" }, error.message)));
  });
}

async function hubLine() {
  const place = document.getElementById("hub");
  try {
    const found = await get("overview");
    const devices = found.hub.devices ?? found.hub.totalDeviceCount;
    place.textContent = `${found.local ? "local hub" : "Azure"} ${found.hostname}, ${number(devices)} devices`;
  } catch (error) {
    place.textContent = error.status === 401 ? "" : `no hub: ${error.message.slice(0, 80)}`;
  }
}

addEventListener("hashchange", paint);
addEventListener("unhandledrejection", (event) => toast(event.reason?.message ?? String(event.reason)));
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
paint();
hubLine();
setInterval(hubLine, 5000);
