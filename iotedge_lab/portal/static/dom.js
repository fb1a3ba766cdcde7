// Elements by text alone: what came from a device is never read as HTML.
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "disabled" || key === "checked") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function card(title, ...children) {
  return el("section", { class: "card" }, title ? el("h2", {}, title) : null, ...children);
}

// columns: [[title, (row) => content, class?], ...]
export function table(caption, columns, rows, empty) {
  if (!rows.length) return el("p", { class: "empty" }, empty);
  const head = columns.map(([title, , kind]) => el("th", { scope: "col", class: kind }, title));
  const body = rows.map((row) => el("tr", {}, columns.map(([, content, kind]) => el("td", { class: kind }, content(row) ?? ""))));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", { "aria-label": caption }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)));
}

export const json = (value) => el("pre", { tabindex: "0" }, JSON.stringify(value, null, 2));
export const word = (text, kind) => el("span", { class: kind }, text);
export const number = (value) => (typeof value === "number" ? value.toLocaleString("en-GB") : String(value ?? ""));

export function state(text) {
  const good = ["running", "Connected", "enabled", "connected", "online"];
  const bad = ["failed", "backoff", "unhealthy", "disabled"];
  return word(text, good.includes(text) ? "good" : bad.includes(text) ? "bad" : "soft");
}

export function when(iso) {
  if (!iso || iso.startsWith("0001-")) return "never";
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? iso : date.toLocaleString("en-GB");
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
export function field(label, made) {
  made.id = `field-${(fields += 1)}`;
  return [el("label", { for: made.id }, label), made];
}
