// Live messages: newest first, filtered in the page, the oldest let go.
import { follow } from "./calls.js";
import { card, el, field, number, word } from "./dom.js";

const KEPT = 200;

export function messageItem(message) {
  const from = message.module ? `${message.device}/${message.module}` : message.device;
  const properties = Object.entries(message.properties).map(([name, value]) => el("span", { class: "chip wrap" }, `${name}=${value}`));
  const cut = message.bytes > message.body.length ? ` (${number(message.bytes)} bytes)` : "";
  return el("li", {},
    el("div", { class: "head" },
      el("strong", { class: "wrap" }, from || "the hub"),
      word(message.time.slice(11, 23), "soft"),
      message.source && message.source !== "Telemetry" ? word(message.source, "warn") : null,
      word(`partition ${message.partition}`, "soft"), ...properties),
    el("pre", {}, (message.encoding === "base64" ? "base64: " : "") + message.body + cut));
}

export async function showMessages(main, signal) {
  const list = el("ol", { class: "events" });
  const told = el("p", { class: "soft", role: "status" }, "Waiting for messages ...");
  const filter = el("input", { type: "search", placeholder: "device, property or text", oninput: redraw });
  const pause = el("button", { type: "button", "aria-pressed": "false", onclick: () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) redraw();
  } }, "Pause");
  const [label, input] = field("Show only", filter);
  main.append(el("h1", {}, "Messages"),
    card(null, el("div", { class: "row" }, label, input, pause,
      el("button", { type: "button", onclick: () => { kept.length = 0; redraw(); } }, "Clear")), told, list));

  const kept = [];
  let paused = false;
  let total = 0;
  let missed = 0;

  function matches(message) {
    const asked = filter.value.trim().toLowerCase();
    return !asked || JSON.stringify(message).toLowerCase().includes(asked);
  }
  function redraw() {
    list.replaceChildren(...kept.filter(matches).map(messageItem));
  }

  follow(({ events, skipped, trouble }) => {
    total += events.length + skipped;
    missed += skipped;
    told.textContent = trouble || `${number(total)} messages since this view was opened`
      + (missed ? `, ${number(missed)} of them not shown: too many at once` : "");
    told.className = trouble ? "bad" : "soft";
    if (!events.length) return;
    const newest = events.slice().reverse();
    kept.unshift(...newest);
    kept.length = Math.min(kept.length, KEPT);
    if (paused) return;
    list.prepend(...newest.filter(matches).map(messageItem));
    while (list.children.length > KEPT) list.lastChild.remove();
  }, signal);
}
