// The live messages: one stream for the whole page, so that views come and go and none is missed.
import { answer, headers } from "./calls.js";

export const KEPT = 500;
export const kept = []; // newest first
export const seen = { total: 0, missed: 0, trouble: "", open: false };
const rates = new Map(); // second -> messages
const known = new Set();
const listeners = new Set();

export function onMessages(listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener));
}

// Messages in each of the last so many seconds, the oldest first; the second that is not over is left out.
export function perSecond(seconds) {
  const now = Math.floor(Date.now() / 1000);
  return Array.from({ length: seconds }, (_, at) => rates.get(now - seconds + at) ?? 0);
}

function take({ events, skipped, trouble, earlier }) {
  const fresh = events.filter((each) => !known.has((each.key = `${each.partition} ${each.sequence} ${each.time}`)));
  for (const each of fresh) {
    known.add(each.key);
    const at = kept.findIndex((other) => other.time <= each.time);
    kept.splice(at < 0 ? kept.length : at, 0, each);
  }
  for (const gone of kept.splice(KEPT)) known.delete(gone.key);
  const second = Math.floor(Date.now() / 1000);
  const add = (at, many) => rates.set(at, (rates.get(at) ?? 0) + many);
  if (earlier) {
    for (const each of fresh) add(Math.floor(Date.parse(each.time) / 1000), 1);
  } else {
    add(second, fresh.length + skipped);
    for (const each of rates.keys()) if (each < second - 120) rates.delete(each);
    seen.total += fresh.length + skipped;
    seen.missed += skipped;
  }
  seen.trouble = trouble;
  seen.open = true;
  for (const listener of listeners) listener(fresh);
}

// Until the page is closed. A page that is not seen lets go of its connection (a browser has six for each server), and
// takes up where it was when it is seen again.
export async function keepListening() {
  let place = "";
  for (;;) {
    if (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
    const hidden = new AbortController();
    const hide = () => { if (document.hidden) hidden.abort(); };
    document.addEventListener("visibilitychange", hide);
    let wait = 0;
    try {
      // jupyter-server-proxy passes a stream on as it comes only if it was asked for by this name.
      const response = await fetch(`api/events?place=${encodeURIComponent(place)}`, { headers: { ...headers(), Accept: "text/event-stream" }, signal: hidden.signal });
      if (!response.ok) await answer(response);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        for (const part of parts) {
          if (!part.startsWith("data: ")) continue;
          const delivery = JSON.parse(part.slice(6));
          place = delivery.place;
          take(delivery);
        }
      }
    } catch (error) {
      if (!hidden.signal.aborted) {
        wait = 2000;
        take({ events: [], skipped: 0, trouble: error.status ? error.message : "The portal does not answer; it is tried again.", earlier: false });
      }
    }
    document.removeEventListener("visibilitychange", hide);
    if (wait) await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
