// Devices, a page at a time, and one device with what can be done to it.
import { call, device as path, get } from "./calls.js";
import { card, el, field, json, number, state, table, toast, when } from "./dom.js";

export async function showDevices(main, signal) {
  const place = el("div");
  const search = el("input", { type: "search", placeholder: "part of an id" });
  const back = el("button", { type: "button", onclick: () => { pages.pop(); load(); } }, "Previous");
  const on = el("button", { type: "button", onclick: () => { pages.push(following); load(); } }, "Next");
  const [label, input] = field("Device", search);
  main.append(el("h1", {}, "Devices"), card(null,
    el("form", { class: "row", role: "search", onsubmit: (event) => { event.preventDefault(); pages = [null]; load(); } },
      label, input, el("button", { type: "submit", class: "main" }, "Search"),
      el("button", { type: "button", onclick: () => load() }, "Refresh")),
    place, el("div", { class: "row" }, back, on)));
  let pages = [null];
  let following = null;

  async function load() {
    const asked = new URLSearchParams({ search: search.value.trim(), next: pages.at(-1) ?? "" });
    const found = await get(`devices?${asked}`);
    if (signal.aborted) return;
    following = found.next;
    back.disabled = pages.length < 2;
    on.disabled = !following;
    place.replaceChildren(table("Devices", [
      ["Device", (each) => el("a", { href: `#/devices/${encodeURIComponent(each.deviceId)}` }, each.deviceId), "wrap"],
      ["Kind", (each) => (each.capabilities?.iotEdge ? "edge" : "")],
      ["Connection", (each) => state(each.connectionState)],
      ["Status", (each) => state(each.status)],
      ["Last activity", (each) => when(each.lastActivityTime)],
      ["C2D waiting", (each) => number(each.cloudToDeviceMessageCount), "number"],
      ["Tags", (each) => (each.tags && Object.keys(each.tags).length ? el("code", {}, JSON.stringify(each.tags)) : ""), "wrap"],
    ], found.items, search.value ? "No device has that in its id." : "There is no device yet. 'iotedge-lab device create car1' makes one."));
  }
  await load();
}

export async function showDevice(main, id, signal) {
  const found = await get(path(id));
  if (signal.aborted) return;
  const { identity } = found;
  main.append(
    el("p", {}, el("a", { href: "#/devices" }, "All devices")),
    el("h1", { class: "wrap" }, id),
    card("Identity", el("p", {}, state(identity.status), ", ", state(identity.connectionState), `, ${identity.authentication?.type} authentication, last activity ${when(identity.lastActivityTime)}`),
      el("details", {}, el("summary", {}, "All of it"), json(identity))));
  if (found.deployed) main.append(card("Modules as deployed and as reported", table("Deployed modules", [
    ["Name", (row) => row.name], ["Type", (row) => row.type],
    ["Specified in deployment", (row) => (row.specified ? "Yes" : "No")],
    ["Reported by device", (row) => (row.reported ? "Yes" : "No")],
    ["Runtime status", (row) => state(row.runtimeStatus)], ["Exit code", (row) => row.exitCode ?? ""],
    ["Image", (row) => el("code", {}, row.image), "wrap"],
  ], found.deployed, "Nothing was deployed to it yet.")));
  const grid = el("div", { class: "grid" },
    twinCard("Device twin", id, null, found.twin), methodCard(id, found.modules), messageCard(id));
  main.append(grid);
  for (const module of found.modules) {
    const details = el("details", {}, el("summary", {}, `${module.moduleId} (${module.connectionState})`));
    details.addEventListener("toggle", async () => {
      if (!details.open || details.children.length > 1) return;
      const twin = await get(`${path(id, module.moduleId)}/twin`);
      details.append(twinCard("Module twin", id, module.moduleId, twin));
    });
    main.append(el("section", { class: "card" }, details));
  }
}

function twinCard(title, id, module, twin) {
  const place = el("div");
  function draw(now) {
    const { $metadata, $version, ...desired } = now.properties.desired ?? {};
    const text = el("textarea", { spellcheck: "false", value: JSON.stringify({ tags: now.tags ?? {}, properties: { desired } }, null, 2) });
    const [label, area] = field("Tags and desired properties; null takes a name away", text);
    const { $metadata: m, $version: v, ...reported } = now.properties.reported ?? {};
    place.replaceChildren(label, area,
      el("div", { class: "row" }, el("button", { type: "button", class: "main", onclick: async () => {
        const patch = parse(text.value);
        if (patch === undefined) return;
        draw(await call("PATCH", `${path(id, module)}/twin`, { patch, etag: now.etag }));
        toast("The twin is changed.");
      } }, "Save"), el("button", { type: "button", onclick: async () => draw(module ? await get(`${path(id, module)}/twin`) : (await get(path(id))).twin) }, "Reload"),
      el("span", { class: "soft" }, `version ${now.version}`)),
      el("h3", {}, `Reported properties, version ${v ?? 0}`), json(reported));
  }
  draw(twin);
  return card(title, place);
}

function methodCard(id, modules) {
  const target = el("select", {}, el("option", { value: "" }, "the device itself"),
    modules.map((each) => el("option", { value: each.moduleId }, each.moduleId)));
  const name = el("input", { required: true, value: "", autocomplete: "off" });
  const payload = el("textarea", { class: "short", spellcheck: "false", value: "null" });
  const said = el("div", { role: "status" });
  return card("Direct method", el("form", { onsubmit: async (event) => {
    event.preventDefault();
    const value = parse(payload.value);
    if (value === undefined) return;
    said.replaceChildren(el("p", { class: "soft" }, "Waiting for the answer ..."));
    try {
      const answer = await call("POST", `${path(id, target.value || null)}/method`, { methodName: name.value, payload: value });
      said.replaceChildren(json(answer));
    } catch (error) {
      said.replaceChildren(el("p", { class: "bad" }, error.message));
    }
  } }, ...field("Call", target), ...field("Method", name), ...field("Payload, as JSON", payload),
  el("div", { class: "row" }, el("button", { type: "submit", class: "main" }, "Call the method")), said));
}

function messageCard(id) {
  const text = el("textarea", { class: "short", spellcheck: "false", value: "" });
  const properties = el("textarea", { class: "short", spellcheck: "false", value: "{}" });
  return card("Cloud-to-device message", el("form", { onsubmit: async (event) => {
    event.preventDefault();
    const value = parse(properties.value);
    if (value === undefined) return;
    await call("POST", `${path(id)}/messages`, { text: text.value, properties: value });
    toast(`Sent to ${id}.`);
  } }, ...field("Text", text), ...field("Properties, as JSON", properties),
  el("div", { class: "row" }, el("button", { type: "submit", class: "main" }, "Send"))));
}

function parse(text) {
  try { return JSON.parse(text); } catch (error) { toast(`That is no JSON: ${error.message}`); return undefined; }
}
