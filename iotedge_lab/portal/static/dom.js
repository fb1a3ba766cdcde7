// Elements by text alone: what came from a device is never read as HTML.
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "disabled" || key === "checked") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const card = (title, ...children) =>
  el("section", { class: "card" }, title ? el("h2", {}, title) : null, ...children);

export const heading = (text, ...beside) =>
  el("div", { class: "title" }, el("h1", { tabindex: "-1", class: "wrap" }, text), ...beside);

// columns: [[title, (row) => content, class?], ...]
export function table(caption, columns, rows, empty) {
  if (!rows.length) return el("p", { class: "empty" }, empty);
  const head = columns.map(([title, , kind]) => el("th", { scope: "col", class: kind }, title));
  const body = rows.map((row) => el("tr", {}, columns.map(([, content, kind]) => el("td", { class: kind }, content(row) ?? ""))));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", { "aria-label": caption }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)));
}

// facts: [[name, content], ...]; what is empty is left out.
export const facts = (...pairs) =>
  el("dl", { class: "facts" }, pairs.filter(([, content]) => content !== "" && content !== null && content !== undefined)
    .map(([name, content]) => el("div", {}, el("dt", {}, name), el("dd", { class: "wrap" }, content))));

export const json = (value, label = "JSON") =>
  el("pre", { tabindex: "0", role: "region", "aria-label": label }, JSON.stringify(value, null, 2));
export const more = (title, ...children) =>
  el("details", { "data-key": title }, el("summary", {}, title), ...children);
export const word = (text, kind) => el("span", { class: kind }, text);
export const number = (value) => (typeof value === "number" ? value.toLocaleString("en-GB") : String(value ?? ""));
export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;
export const button = (text, onclick, attributes = {}) => el("button", { type: "button", onclick, "data-key": text, ...attributes }, text);

const GOOD = ["running", "Connected", "enabled", "connected", "online"];
const BAD = ["failed", "backoff", "unhealthy", "disabled"];
export function state(text, kind) {
  if (!text) return word("–", "soft");
  return word(text, `state ${kind ?? (GOOD.includes(text) ? "good" : BAD.includes(text) ? "bad" : "soft")}`);
}

export function when(iso) {
  if (!iso || iso.startsWith("0001-")) return "never";
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const text = date.toDateString() === new Date().toDateString() ? date.toLocaleTimeString("en-GB") : date.toLocaleString("en-GB");
  return el("time", { datetime: iso, title: iso }, text);
}

let hiding;
export function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  clearTimeout(hiding);
  hiding = setTimeout(() => { place.textContent = ""; }, 8000);
}

// A field with its label, for forms.
let fields = 0;
export function field(label, made, hint) {
  made.id = `field-${(fields += 1)}`;
  if (hint) made.setAttribute("aria-describedby", `${made.id}-hint`);
  return el("div", { class: "field" }, el("label", { for: made.id }, label), made,
    hint ? el("p", { class: "hint", id: `${made.id}-hint` }, hint) : null);
}

// Where a form says what came of it. An error is told at once, and takes nothing of what was typed.
export function verdict() {
  const place = el("div", { class: "verdict", role: "status" });
  return {
    place,
    clear: () => place.replaceChildren(),
    say: (...children) => place.replaceChildren(...children),
    good: (text) => place.replaceChildren(el("p", { class: "note good" }, text)),
    bad: (text, ...beside) => place.replaceChildren(el("p", { class: "note bad" }, text, ...beside)),
  };
}

// JSON of a field; what is none is said beside it with line and column, and the field has the focus.
export function parse(area, said, name) {
  try {
    const value = JSON.parse(area.value);
    area.removeAttribute("aria-invalid");
    return { value };
  } catch (error) {
    area.setAttribute("aria-invalid", "true");
    area.focus();
    const at = /position (\d+)/.exec(error.message);
    const before = at ? area.value.slice(0, Number(at[1])).split("\n") : null;
    const place = before && !/line \d/.test(error.message) ? ` (line ${before.length}, column ${before.at(-1).length + 1})` : "";
    said.bad(`${name} is not JSON: ${error.message}${place}. Nothing was sent.`);
    return null;
  }
}

// Where the focus was before a dialogue; what was drawn anew meanwhile is found by its words.
export function refocus(before) {
  if (before?.isConnected) { before.focus(); return; }
  const name = before?.getAttribute?.("aria-label") ?? before?.textContent;
  [...document.querySelectorAll("main button")].find((each) => (each.getAttribute("aria-label") ?? each.textContent) === name)?.focus();
}

// A question before what cannot be undone. The promise is whether the answer is yes.
export function ask(question, yes) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const dialog = el("dialog", { "aria-label": question }, el("p", {}, question), el("div", { class: "row end" },
      button("Cancel", () => dialog.close("")), button(yes, () => dialog.close("yes"), { class: "danger" })));
    dialog.addEventListener("close", () => { dialog.remove(); refocus(before); resolve(dialog.returnValue === "yes"); });
    document.body.append(dialog);
    dialog.showModal();
  });
}
