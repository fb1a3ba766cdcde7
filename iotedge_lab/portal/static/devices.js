// Devices, a page at a time.
import { call, get } from "./calls.js";
import { drawn, every, staleLine } from "./live.js";
import { button, card, el, field, heading, number, state, table, toast, verdict, when, word } from "./dom.js";

const SHOW = [["", "All"], ["connected", "Connected"], ["edge", "Edge"], ["disabled", "Disabled"]];

export async function showDevices(main, signal) {
  const place = el("div");
  const stale = staleLine();
  const range = el("span", { class: "soft", role: "status" });
  const search = el("input", { type: "search", placeholder: "part of an id" });
  const show = el("select", { onchange: first }, SHOW.map(([value, text]) => el("option", { value }, text)));
  const back = button("Previous", () => { pages.pop(); load(); });
  const on = button("Next", () => { pages.push(following); load(); });
  let pages = [null];
  let following = null;
  let total = 0;
  let asking = 0;

  main.append(heading("Devices", newDevice()), stale.place, card(null,
    el("form", { class: "row tools", role: "search", onsubmit: (event) => { event.preventDefault(); first(); } },
      field("Device", search), field("Show", show), el("button", { type: "submit", class: "main" }, "Search")),
    place, el("div", { class: "row pages" }, range, back, on)));

  function first() { pages = [null]; load(); }
  const draw = drawn(place, (items) => table("Devices", [
    ["Device", (each) => el("a", { href: `#/devices/${encodeURIComponent(each.deviceId)}` }, each.deviceId), "wrap"],
    ["Kind", (each) => (each.capabilities?.iotEdge ? word("edge", "chip") : "")],
    ["Connection", (each) => state(each.connectionState)],
    ["Status", (each) => state(each.status)],
    ["Last activity", (each) => when(each.lastActivityTime)],
    ["C2D waiting", (each) => (each.cloudToDeviceMessageCount ? number(each.cloudToDeviceMessageCount) : word("0", "soft")), "number"],
    ["Tags", (each) => (each.tags && Object.keys(each.tags).length ? el("code", { class: "clip", title: JSON.stringify(each.tags) }, JSON.stringify(each.tags)) : ""), "tags"],
  ], items, search.value || show.value ? "No device is like that." : "There is no device yet: make one here, or with 'iotedge-lab device create car1'."));

  async function fill() {
    const turn = (asking += 1);
    const asked = new URLSearchParams({ search: search.value.trim(), show: show.value, next: pages.at(-1) ?? "" });
    const found = await get(`devices?${asked}`, signal);
    if (signal.aborted || turn !== asking) return; // another question was asked meanwhile
    following = found.next;
    total = found.total ?? total;
    const before = (pages.length - 1) * 50;
    const text = found.items.length ? `${number(before + 1)}–${number(before + found.items.length)} of ${number(total)}` : "";
    if (range.textContent !== text) range.textContent = text;
    back.disabled = pages.length < 2;
    on.disabled = !following;
    draw(found.items);
  }
  async function load() {
    try { await fill(); stale.note(null); } catch (error) { if (!signal.aborted) stale.note(error); }
  }
  await every(5, signal, fill, stale.note);
}

// What Azure's portal asks for a new device: an id, and whether it is an edge device.
function newDevice() {
  const id = el("input", { required: true, autocomplete: "off", maxlength: "128", pattern: "[A-Za-z0-9\\-.%_*?!\\(\\),:=@$']+", title: "Letters, digits and - . % _ * ? ! ( ) , : = @ $ '" });
  const edge = el("input", { type: "checkbox", id: "new-is-edge" });
  const said = verdict();
  const details = el("details", { class: "drop" }, el("summary", { class: "button" }, "New device"),
    el("form", { class: "card", onsubmit: async (event) => {
      event.preventDefault();
      try {
        const made = await call("POST", "devices", { deviceId: id.value, edge: edge.checked });
        toast(`${made.deviceId} is registered.`);
        location.hash = `#/devices/${encodeURIComponent(made.deviceId)}`;
      } catch (error) { said.bad(error.message); }
    } }, field("Device id", id), el("p", { class: "row" }, edge, el("label", { for: edge.id }, "IoT Edge device")),
    said.place, el("div", { class: "row" }, el("button", { type: "submit", class: "main" }, "Register"))));
  details.addEventListener("toggle", () => { if (details.open) id.focus(); });
  details.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && details.open) { details.open = false; details.firstElementChild.focus(); }
  });
  return details;
}

