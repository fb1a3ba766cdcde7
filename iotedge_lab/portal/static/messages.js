// Live messages: newest first, filtered in the page; what is open stays open while others come.
import { KEPT, kept, onMessages, seen } from "./feed.js";
import { button, card, count, el, facts, field, heading, number, word } from "./dom.js";

const SHOWN = 200;

// As the person's own clock shows it, with milliseconds.
function clock(iso) {
  const date = new Date(iso);
  return `${date.toLocaleTimeString("en-GB")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

export function messageItem(message) {
  const from = message.module ? `${message.device}/${message.module}` : message.device;
  const event = message.source && message.source !== "Telemetry";
  const details = el("details", {},
    el("summary", {},
      el("span", { class: "time" }, clock(message.time)),
      el("span", { class: "from" }, from || "the hub"),
      event ? word(message.source, "chip warn") : null,
      el("span", { class: "preview" }, message.encoding === "base64" ? `${number(message.bytes)} bytes, base64 ${message.body}` : message.body.slice(0, 200) || "(empty)")));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(body(message));
  });
  return el("li", {}, details);
}

function body(message) {
  const properties = Object.entries(message.properties);
  const cut = message.body.length >= 2000 && message.bytes > 2000;
  let text = message.body;
  try { if (!cut && message.encoding === "utf-8") text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* no JSON: as it is */ }
  return el("div", { class: "inside" },
    properties.length ? el("p", { class: "chips" }, properties.map(([name, value]) => el("span", { class: "chip wrap" }, `${name}=${value}`))) : null,
    el("pre", { tabindex: "0", role: "region", "aria-label": "Body" }, text),
    cut ? el("p", { class: "hint" }, `The first part of ${number(message.bytes)} bytes.`) : null,
    facts(["Enqueued", message.time], ["Partition", message.partition], ["Sequence number", number(message.sequence)], ["Size", count(message.bytes, "byte")],
      ...Object.entries(message.system ?? {})));
}

function matching(text, device) {
  const asked = text.trim().toLowerCase();
  return (message) => (!device || message.device === device)
    && (!asked || `${message.device}/${message.module} ${message.source} ${message.body} ${Object.entries(message.properties).map((each) => each.join("="))}`.toLowerCase().includes(asked));
}

// A list that follows the messages: `limit` of them, of one device perhaps; with the filter's field and buttons.
export function messageList(signal, { device = "", limit = SHOWN, empty, tools = false }) {
  const list = el("ol", { class: "events" });
  const nothing = el("p", { class: "empty" });
  const told = el("p", { class: "soft" });
  const spoken = el("p", { class: "unseen", role: "status" });
  const filter = el("input", { type: "search", placeholder: "device, property or text", oninput: redraw });
  const pause = button("Pause", () => {
    paused = !paused;
    held = 0;
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) label(); else redraw();
  }, { "aria-pressed": "false" });
  let paused = false;
  let held = 0;
  let cleared = "";

  const wanted = () => {
    const matches = matching(filter.value, device);
    return (message) => matches(message) && message.time > cleared;
  };
  function redraw() {
    const matches = wanted();
    list.replaceChildren();
    held = 0;
    add(kept.filter(matches).slice(0, limit));
    label();
  }
  // Those that came late take their place among the others.
  function add(messages) {
    for (const message of messages) {
      const item = messageItem(message);
      item.dataset.time = message.time;
      let next = list.firstElementChild;
      while (next && next.dataset.time > message.time) next = next.nextElementSibling;
      if (next) next.before(item); else list.append(item);
    }
    while (list.children.length > limit) list.lastChild.remove();
  }
  function label() {
    nothing.hidden = list.children.length > 0;
    nothing.textContent = filter.value.trim() ? "No message matches." : seen.open ? empty : "Connecting to the built-in endpoint ...";
    pause.textContent = paused ? `Go on${held ? ` (${number(held)} new)` : ""}` : "Pause";
    told.className = seen.trouble ? "note bad" : "soft";
    const text = seen.trouble || (seen.open ? `${count(seen.total, "message")} since this page was opened`
      + (seen.missed ? `, ${number(seen.missed)} of them not shown: too many at once` : "") : "Connecting ...");
    if (told.textContent !== text) told.textContent = text;
  }

  onMessages((fresh) => {
    const found = fresh.filter(wanted());
    if (paused) held += found.length;
    else add(found.reverse());
    label();
  }, signal);
  redraw();
  // Spoken every ten seconds at most, and not each message.
  let said = 0;
  const speaking = setInterval(() => {
    if (seen.total === said) return;
    spoken.textContent = `${count(seen.total - said, "new message")}`;
    said = seen.total;
  }, 10_000);
  signal.addEventListener("abort", () => clearInterval(speaking));
  return [tools ? el("div", { class: "row tools" }, field("Show only", filter), pause,
    button("Clear", () => { cleared = kept[0]?.time ?? ""; redraw(); }), told) : null, spoken, nothing, list];
}

export async function showMessages(main, signal) {
  main.append(heading("Messages"), card(null, messageList(signal, { tools: true, empty: "Nothing has arrived yet. What devices send appears here at once." }),
    el("p", { class: "hint" }, `From the built-in endpoint, consumer group $Default. The page keeps the last ${KEPT}.`)));
}
