// What is looked at again and again: views stay up to date, and what a person does in them stays too.
import { get } from "./calls.js";
import { button, el } from "./dom.js";

// What is pressed is not replaced under the finger: the click would be lost.
let pressed = false;
addEventListener("pointerdown", () => { pressed = true; }, true);
for (const over of ["pointerup", "pointercancel", "blur"]) addEventListener(over, () => setTimeout(() => { pressed = false; }), true);

// Draw only when the value has changed; an open <details> stays open, and the focus where it was.
export function drawn(place, draw) {
  let before;
  return (value) => {
    const now = JSON.stringify(value);
    if (now === before || (pressed && before !== undefined)) return;
    before = now;
    const open = [...place.querySelectorAll("details[open]")].map(keyOf);
    const focused = place.contains(document.activeElement) ? keyOf(document.activeElement) : null;
    const scrolled = [...place.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    place.replaceChildren(...[draw(value)].flat(3).filter(Boolean));
    for (const details of place.querySelectorAll("details")) if (open.includes(keyOf(details))) details.open = true;
    place.querySelectorAll(".scroll").forEach((each, at) => { each.scrollLeft = scrolled[at] ?? 0; });
    if (focused) [...place.querySelectorAll("a, button, summary, pre, [tabindex]")].find((each) => keyOf(each) === focused)?.focus({ preventScroll: true });
  };
}

function keyOf(element) {
  const within = element.closest("[data-within]")?.dataset.within ?? "";
  return `${within} ${element.tagName} ${element.dataset.key ?? element.getAttribute("href") ?? element.getAttribute("aria-label") ?? element.textContent}`;
}

// Do it now and every so many seconds while the page is seen; the first failure is the caller's, later ones are noted.
export async function every(seconds, signal, work, note) {
  await work();
  const timer = setInterval(async () => {
    if (document.hidden || signal.aborted) return;
    try { await work(); note?.(null); } catch (error) { if (!signal.aborted) note?.(error); }
  }, seconds * 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

// A line that says that what is shown is of before, and why.
export function staleLine() {
  const place = el("div", { role: "status" });
  let since = new Date();
  let text = "";
  return {
    place,
    note(error) {
      if (!error) since = new Date();
      const why = !error || error.name === "HubNotRunning" || error.name === "PortalGone" ? "." : `: ${error.message}`; // the banner says it
      const now = error ? `Shown as it was at ${since.toLocaleTimeString("en-GB")}${why}` : "";
      if (now === text) return;
      text = now;
      place.replaceChildren(...(now ? [el("p", { class: "note warn" }, now)] : []));
    },
  };
}

// One look at the hub for the whole page: its line, its banner, the overview and the edge devices.
const watchers = new Set();
let latest = null;
let looking = null;

export function watchHub(watcher, signal) {
  watchers.add(watcher);
  signal?.addEventListener("abort", () => watchers.delete(watcher));
  if (latest) watcher(latest);
}

export function look() {
  looking ??= get("overview")
    .then((found) => ({ ...found, status: 200 }), (error) => ({ hub: null, edges: latest?.edges ?? [], hostname: latest?.hostname ?? "", local: false, trouble: error.message, status: error.status }))
    .then((found) => { latest = found; looking = null; for (const watcher of watchers) watcher(found); return found; });
  return looking;
}

export function keepLooking() {
  setInterval(() => { if (!document.hidden) look(); }, 2000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  return look();
}

export const again = (work) => button("Try again", work);
