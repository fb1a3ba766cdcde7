// Which view is shown: #/, #/devices, #/devices/ID[/PART[/MODULE]], #/edges, #/deployments, #/messages.
import { call, Refused, tokenOfAnotherTab, useToken } from "./calls.js";
import { again, keepLooking, look, watchHub } from "./live.js";
import { button, card, count, el, field, toast, word } from "./dom.js";
import { showDevice } from "./device.js";
import { showDevices } from "./devices.js";
import { showDeployments } from "./deployments.js";
import { showEdges } from "./edges.js";
import { keepListening } from "./feed.js";
import { showMessages } from "./messages.js";
import { showOverview } from "./overview.js";
import { followTheme } from "./theme.js";

const VIEWS = [
  ["", "Overview", showOverview],
  ["devices", "Devices", showDevices],
  ["edges", "Edge devices", showEdges],
  ["deployments", "Deployments", showDeployments],
  ["messages", "Messages", showMessages],
];
const main = document.getElementById("main");
let leaving = new AbortController();
let listening = false;
let closed = false; // the token is missing, or the portal was started again and has another one

function decoded(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

function paint({ focus = true } = {}) {
  if (closed) return;
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [name = "", id, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const [shown, title, show] = VIEWS.find(([view]) => view === name) ?? VIEWS[0];
  document.getElementById("views").replaceChildren(...VIEWS.map(([view, text]) =>
    el("li", {}, el("a", { href: `#/${view}`, "aria-current": view === shown ? "page" : null }, text))));
  document.title = `${id || title} - IoT Edge Lab`;
  // A view draws into a place of its own: one that is late draws where nobody looks any more.
  const place = el("div", { class: "view" });
  main.replaceChildren(place);
  const drawing = shown === "devices" && id ? showDevice(place, id, rest, signal) : show(place, signal);
  const settle = () => { if (focus && !signal.aborted) (place.querySelector("h1") ?? main).focus({ preventScroll: true }); };
  drawing.then(settle, (error) => { if (!signal.aborted) failed(place, error, id); });
}

function failed(place, error, id) {
  if (error instanceof Refused && error.status === 401) return showDoor(error.message);
  const gone = error.status === 404 && id;
  place.replaceChildren(card(gone ? `There is no device ${id}` : "That did not work",
    el("p", { role: "alert" }, gone ? "It has been deleted, or its id is spelt differently." : error.message),
    el("div", { class: "row" }, again(() => paint()), gone ? el("a", { href: "#/devices" }, "All devices") : null)));
}

// Without the token: what to do, and a field for it.
function showDoor(message) {
  if (closed) return;
  closed = true;
  leaving.abort();
  const input = el("input", { type: "password", autocomplete: "off", required: true, class: "wide" });
  main.replaceChildren(el("form", { class: "card door", onsubmit: (event) => {
    event.preventDefault();
    useToken(input.value);
    location.reload();
  } }, el("h1", {}, "The link's token is needed"), el("p", { role: "alert" }, message),
  field("Or paste the link, or its token", input), el("div", { class: "row" }, el("button", { type: "submit", class: "main" }, "Open"))));
}

function hubLine({ hub, local, hostname, trouble, status }) {
  if (status === 401 && listening) showDoor(trouble);
  const place = document.getElementById("hub");
  const devices = hub?.devices ?? hub?.totalDeviceCount;
  const said = status === 401 ? "" : hub ? `${local ? "local hub" : "Azure"} ${hostname}` : "no hub";
  if (place.dataset.said !== `${said}${devices}`) {
    place.dataset.said = `${said}${devices}`;
    place.replaceChildren(...(said ? [word(said, `state ${hub ? "good" : "bad"}`), hub ? word(count(devices, "device"), "soft") : ""] : []));
  }
  const banner = document.getElementById("banner");
  const bad = hub || status === 401 ? "" : trouble;
  if (banner.dataset.said === bad) return;
  banner.dataset.said = bad;
  banner.replaceChildren(...(bad ? [el("p", {}, el("strong", {}, status === 200 ? "The hub does not answer. " : "The portal does not answer. "), trouble),
    local ? button("Start the hub", startHub, { class: "main" }) : ""] : []));
}

async function startHub(event) {
  const { target } = event;
  target.disabled = true;
  target.textContent = "Starting ...";
  try {
    await call("POST", "hub/start");
    toast("The hub runs again.");
  } catch (error) {
    toast(error.message);
    target.disabled = false;
    target.textContent = "Start the hub";
  }
  await look();
  paint({ focus: false });
}

addEventListener("hashchange", () => paint());
addEventListener("unhandledrejection", (event) => {
  if (event.reason?.name !== "AbortError") toast(event.reason?.message ?? String(event.reason));
});
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
followTheme();
watchHub(hubLine);
if (await allowed()) {
  listening = true;
  keepListening();
  paint({ focus: false });
  keepLooking();
} else showDoor((await look()).trouble);

// Behind JupyterLab no token is needed here; a tab that was opened from another one asks that for it.
async function allowed() {
  if ((await look()).status !== 401) return true;
  return (await tokenOfAnotherTab()) !== null && (await look()).status !== 401;
}
