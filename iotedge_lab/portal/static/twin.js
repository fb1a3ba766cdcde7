// The twin of a device or of one of its modules: edited as JSON, and never written over what was not seen.
import { call, device as path, get } from "./calls.js";
import { drawn } from "./live.js";
import { button, card, el, field, json, more, number, parse, toast, verdict } from "./dom.js";

const bare = ({ $metadata, $version, ...rest } = {}) => rest;
const editable = (twin) => ({ tags: twin.tags ?? {}, properties: { desired: bare(twin.properties?.desired) } });

// What turns one document into the other, as a twin takes it: null for a name that is gone.
export function difference(before, after) {
  const patch = {};
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [was, is] = [before[name], after[name]];
    if (!(name in after)) patch[name] = null;
    else if (object(was) && object(is)) {
      const within = difference(was, is);
      if (Object.keys(within).length) patch[name] = within;
    } else if (JSON.stringify(was) !== JSON.stringify(is)) patch[name] = is;
  }
  return patch;
}
const object = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

export function twinCard(place, id, module, found, signal) {
  const target = el("select", { onchange: () => {
    location.hash = `#/devices/${encodeURIComponent(id)}/twin${target.value ? `/${encodeURIComponent(target.value)}` : ""}`;
  } }, el("option", { value: "" }, "the device itself"), found.modules.map((each) => el("option", { value: each.moduleId }, each.moduleId)));
  if (module && !found.modules.some((each) => each.moduleId === module)) target.append(el("option", { value: module }, module));
  target.value = module;
  const area = el("textarea", { spellcheck: "false", rows: "18", oninput: () => label() });
  const version = el("span", { class: "soft" });
  const save = button("Save", () => send(base?.etag), { class: "main" });
  const reset = button("Discard changes", () => { show(newest); said.clear(); });
  const said = verdict();
  const reported = el("div");
  place.append(el("div", { class: "row tools" }, field("Twin of", target)), el("div", { class: "grid" },
    card("Tags and desired properties", field("JSON", area, "What is taken out is taken out of the twin."), said.place,
      el("div", { class: "row" }, save, reset, version)),
    card("Reported properties", reported)));
  const drawReported = drawn(reported, (twin) => [json(bare(twin.properties?.reported), "Reported properties"),
    el("p", { class: "hint" }, `Version ${number(twin.properties?.reported?.$version ?? 0)}. Only the ${module ? "module" : "device"} itself changes them.`),
    more("All of the twin, with its metadata", json(twin, "All of the twin"))]);
  let base = null; // the twin that the text was made from
  let newest = null;

  const edited = () => base !== null && area.value !== JSON.stringify(editable(base), null, 2);
  function label() {
    save.disabled = reset.disabled = !edited();
    area.removeAttribute("aria-invalid");
    const text = base ? `Version ${number(base.version)}${edited() ? ", edited" : ""}` : "";
    if (version.textContent !== text) version.textContent = text;
  }
  function show(twin) {
    base = twin;
    const text = JSON.stringify(editable(twin), null, 2);
    if (area.value !== text) area.value = text;
    label();
  }
  function arrived(twin) {
    newest = twin;
    drawReported(twin);
    if (!edited()) show(twin);
    else if (JSON.stringify(editable(twin)) === JSON.stringify(editable(base))) base = twin; // reported ones alone are new
    else conflict();
  }
  function conflict() {
    if (said.place.dataset.at === newest.etag) return;
    said.place.dataset.at = newest.etag;
    said.bad("The twin has been changed by somebody else while you edited it. ",
      button("Show theirs", () => { show(newest); said.clear(); }),
      button("Save mine over it", () => send(newest.etag, newest)));
  }
  async function send(etag, over = base) {
    const read = parse(area, said, "The twin");
    if (!read) return;
    const { value } = read;
    if (!object(value) || !object(value.tags ?? {}) || !object(value.properties?.desired ?? {})) {
      said.bad('A twin is {"tags": {...}, "properties": {"desired": {...}}}. Nothing was sent.');
      return;
    }
    const was = editable(over);
    const patch = {};
    const tags = difference(was.tags, value.tags ?? {});
    const desired = difference(was.properties.desired, value.properties?.desired ?? {});
    if (Object.keys(tags).length) patch.tags = tags;
    if (Object.keys(desired).length) patch.properties = { desired };
    if (!Object.keys(patch).length) { said.good("There is nothing to change."); return; }
    save.disabled = true;
    try {
      newest = await call("PATCH", `${path(id, module)}/twin`, { patch, etag });
      show(newest);
      said.good(`Saved as version ${number(newest.version)}.`);
      delete said.place.dataset.at;
      toast("The twin is changed.");
    } catch (error) {
      if (error.status === 412) {
        newest = await read_();
        conflict();
      } else said.bad(error.message);
      save.disabled = false;
    }
  }
  const read_ = async () => (module ? get(`${path(id, module)}/twin`, signal) : (await get(path(id), signal)).twin);

  if (!module) return ({ twin }) => arrived(twin);
  return () => {
    read_().then(arrived, (error) => {
      if (signal.aborted) return;
      if (!newest) { save.disabled = reset.disabled = area.disabled = true; }
      said.bad(error.status === 404 ? `${id} has no module ${module} any more.` : error.message);
    });
  };
}

