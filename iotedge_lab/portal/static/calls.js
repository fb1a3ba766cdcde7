// The calls to the portal. The token came behind the link's # and stays in this tab.
const KEY = "iotedge-lab-token";
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(KEY, given);
  history.replaceState(null, "", location.pathname + location.search + "#/");
}

function headers() {
  const token = sessionStorage.getItem(KEY);
  return { "X-Lab-Portal": "1", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
}

export class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function answer(response) {
  if (response.ok) {
    if (response.status === 204) return null;
    return response.headers.get("Content-Type")?.includes("json") ? response.json() : response.text();
  }
  let said = `${response.status} ${response.statusText}`;
  try { said = (await response.json()).message ?? said; } catch { /* no JSON: a proxy's own page */ }
  throw new Refused(response.status, said);
}

export async function call(method, path, body) {
  const response = await fetch(`api/${path}`, {
    method,
    headers: { ...headers(), ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return answer(response);
}

export const get = (path) => call("GET", path);
export const device = (id, module) =>
  `devices/${encodeURIComponent(id)}${module ? `/modules/${encodeURIComponent(module)}` : ""}`;

// Each delivery of the live messages, until the signal aborts; begins again when the connection breaks.
export async function follow(onDelivery, signal) {
  while (!signal.aborted) {
    try {
      const response = await fetch("api/events", { headers: headers(), signal });
      if (!response.ok) await answer(response);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        for (const part of parts) if (part.startsWith("data: ")) onDelivery(JSON.parse(part.slice(6)));
      }
    } catch (error) {
      if (signal.aborted) return;
      onDelivery({ events: [], skipped: 0, trouble: error.message });
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
