// The calls to the portal. The token came behind the link's # and stays in this tab; a second tab asks the first.
const KEY = "iotedge-lab-token";
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(KEY, given);
  history.replaceState(null, "", `${location.pathname}${location.search}#/`);
}

// Only pages of this origin hear each other here.
const tabs = new BroadcastChannel("iotedge-lab-portal");
tabs.addEventListener("message", ({ data }) => {
  const token = sessionStorage.getItem(KEY);
  if (data === "who has the token?" && token) tabs.postMessage({ token });
});

export function tokenOfAnotherTab() {
  return new Promise((resolve) => {
    const heard = ({ data }) => { if (typeof data?.token === "string") done(data.token); };
    const waiting = setTimeout(() => done(null), 400);
    function done(token) {
      clearTimeout(waiting);
      tabs.removeEventListener("message", heard);
      if (token) sessionStorage.setItem(KEY, token);
      resolve(token);
    }
    tabs.addEventListener("message", heard);
    tabs.postMessage("who has the token?");
  });
}

// A person may paste the whole link or the token alone.
export function useToken(text) {
  sessionStorage.setItem(KEY, text.trim().replace(/^.*#token=/, ""));
}

export function headers() {
  const token = sessionStorage.getItem(KEY);
  return { "X-Lab-Portal": "1", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
}

export class Refused extends Error {
  constructor(status, name, message) { super(message); this.status = status; this.name = name; }
}

export async function answer(response) {
  const kind = response.headers.get("Content-Type") ?? "";
  // A page in place of an answer is JupyterLab's, to which this one does not belong any more.
  if (response.ok && kind.includes("html")) throw new Refused(403, "LoggedOut", "JupyterLab asks who you are: log in there again, and open this page anew.");
  if (response.status === 204) return null;
  if (response.ok) return kind.includes("json") ? response.json() : response.text();
  let said = {};
  try { said = await response.json(); } catch { /* no JSON: a proxy's own page */ }
  const status = `${response.status} ${response.statusText}`.trim();
  throw new Refused(response.status, said.error ?? "", said.message
    ?? (response.status >= 500 ? `JupyterLab does not reach the portal (${status}) and starts it again; this page goes on by itself.` : status));
}

export async function call(method, path, body, signal) {
  let response;
  try {
    response = await fetch(`api/${path}`, {
      method,
      signal,
      headers: { ...headers(), ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0, "PortalGone", "Its process has ended, or the connection to it is cut. Start it again with 'iotedge-lab portal' and open the new link.");
  }
  return answer(response);
}

export const get = (path, signal) => call("GET", path, undefined, signal);
// An id as one part of a path. jupyter-server-proxy decodes a path and does not encode all of it again (car%3Fx would
// arrive as car with a query), so ~ stands for %; no id has one.
export const part = (id) => encodeURIComponent(id).replaceAll("~", "%7E").replaceAll("%", "~");
export const device = (id, module) => `devices/${part(id)}${module ? `/modules/${part(module)}` : ""}`;
