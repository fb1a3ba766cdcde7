// What can be done to a device: a direct method, a message.
import { call, device as path } from "./calls.js";
import { ask, button, card, count, el, field, json, number, parse, verdict, word } from "./dom.js";

// The methods that $edgeAgent has, with the payloads that they take.
const AGENT = {
  ping: null,
  RestartModule: { schemaVersion: "1.0", id: "EchoModule" },
  GetModuleLogs: { schemaVersion: "1.0", items: [{ id: "edgeHub", filter: { tail: 10 } }], encoding: "none", contentType: "text" },
};

export function methodCard(place, id, module, { modules }) {
  const target = el("select", { onchange: suggest }, el("option", { value: "" }, "the device itself"),
    modules.map((each) => el("option", { value: each.moduleId }, each.moduleId)));
  target.value = module;
  const names = el("datalist", { id: "method-names" });
  const name = el("input", { required: true, autocomplete: "off", list: "method-names", class: "wide", oninput: () => {
    const usual = target.value === "$edgeAgent" && AGENT[name.value];
    if (usual && untouched()) payload.value = JSON.stringify(usual, null, 2);
  } });
  const untouched = () => payload.value === "null" || Object.values(AGENT).some((each) => JSON.stringify(each, null, 2) === payload.value);
  const payload = el("textarea", { rows: "5", spellcheck: "false", value: "null" });
  const wait = el("input", { type: "number", min: "5", max: "300", value: "10", required: true });
  const patience = el("input", { type: "number", min: "0", max: "300", value: "0", required: true });
  const submit = el("button", { type: "submit", class: "main" }, "Call the method");
  const said = verdict();
  function suggest() { names.replaceChildren(...(target.value === "$edgeAgent" ? Object.keys(AGENT) : []).map((value) => el("option", { value }))); }
  suggest();
  place.append(card("Direct method", el("form", { onsubmit: async (event) => {
    event.preventDefault();
    const read = parse(payload, said, "The payload");
    if (!read) return;
    submit.disabled = true;
    said.say(el("p", { class: "soft" }, "Waiting for the answer ..."));
    const began = performance.now();
    try {
      const answer = await call("POST", `${path(id, target.value || null)}/method`, { methodName: name.value, payload: read.value,
        responseTimeoutInSeconds: Number(wait.value), connectTimeoutInSeconds: Number(patience.value) });
      const good = answer.status >= 200 && answer.status < 300;
      said.say(el("p", {}, "Status ", word(String(answer.status), `state ${good ? "good" : "bad"}`), word(` ${name.value} after ${number(Math.round(performance.now() - began))} ms`, "soft")), json(answer.payload, "Answer"));
    } catch (error) {
      said.bad(advice(error, target.value || id));
    }
    submit.disabled = false;
  } }, names, el("div", { class: "pair" }, field("Call", target), field("Method", name)), field("Payload, as JSON", payload),
  el("div", { class: "pair" }, field("Wait for the answer, in seconds", wait), field("Wait for its connection, in seconds", patience)),
  el("div", { class: "row" }, submit), said.place)));
}

function advice(error, who) {
  if (error.name === "DeviceNotOnline") return `${error.message} Start it, or wait for its connection (at most 300 s).`;
  if (error.status === 504) return `${error.message} ${who} is connected: does its program handle this method, and in time?`;
  return error.message;
}

export function messageCard(place, id) {
  const text = el("textarea", { rows: "5", spellcheck: "false", value: "" });
  const rows = el("div", { class: "rows" });
  const submit = el("button", { type: "submit", class: "main" }, "Send");
  const said = verdict();
  const waiting = el("span", { class: "soft", role: "status" });
  const purge = button("Purge the queue", async () => {
    if (!(await ask(`Take away the messages that wait for ${id}?`, "Purge"))) return;
    try {
      const { totalMessagesPurged: gone } = await call("DELETE", `${path(id)}/messages`);
      said.good(`${count(gone, "message")} taken away.`);
      tell(0);
    } catch (error) { said.bad(error.message); }
  });
  function tell(many) {
    const words = many ? `${count(many, "message")} of 50 wait for it` : "No message waits for it";
    if (waiting.textContent !== words) waiting.textContent = words;
    purge.hidden = !many;
  }
  function add() {
    const name = el("input", { autocomplete: "off", placeholder: "name", "aria-label": "Name of a property" });
    const value = el("input", { autocomplete: "off", placeholder: "value", "aria-label": "Its value" });
    const row = el("div", { class: "property" }, name, value, button("Remove", () => { row.remove(); more.focus(); }));
    rows.append(row);
    name.focus();
  }
  const more = button("Add a property", add);
  place.append(card("Message to device", el("form", { onsubmit: async (event) => {
    event.preventDefault();
    const pairs = [...rows.children].map((row) => [...row.querySelectorAll("input")].map((each) => each.value));
    if (pairs.some(([name, value]) => !name && value)) { said.bad("A property needs a name. Nothing was sent."); return; }
    submit.disabled = true;
    said.say(el("p", { class: "soft" }, "Sending ..."));
    try {
      const { waiting: many } = await call("POST", `${path(id)}/messages`, { text: text.value, properties: Object.fromEntries(pairs.filter(([name]) => name)) });
      said.good(many ? `Sent at ${new Date().toLocaleTimeString("en-GB")}. It waits until ${id} receives.` : `Sent at ${new Date().toLocaleTimeString("en-GB")}, and received by ${id}.`);
      tell(many);
    } catch (error) { said.bad(error.message); }
    submit.disabled = false;
  } }, field("Text", text), el("fieldset", {}, el("legend", {}, "Properties"), rows, more,
    el("p", { class: "hint" }, "messageId, correlationId, contentType and contentEncoding are the message's own.")),
  el("div", { class: "row" }, submit, purge, waiting), said.place)));
  return ({ twin }) => tell(twin.cloudToDeviceMessageCount ?? 0);
}

