// Automatic deployments and configurations, and what they have reached.
import { get } from "./calls.js";
import { drawn, every, staleLine } from "./live.js";
import { card, el, heading, json, more, number, table, when, word } from "./dom.js";

const kind = ({ content }) => (content?.modulesContent ? "edge deployment" : content?.moduleContent ? "module configuration" : "device configuration");

export async function showDeployments(main, signal) {
  const place = el("div", { class: "stack" });
  const stale = staleLine();
  main.append(heading("Deployments and configurations"), stale.place, place);
  const draw = drawn(place, (found) => [card(null, table("Deployments", [
    ["Id", (each) => each.id, "wrap name"],
    ["Kind", (each) => kind(each)],
    ["Priority", (each) => number(each.priority), "number"],
    ["Target condition", (each) => (each.targetCondition ? el("code", {}, each.targetCondition) : word("nobody", "soft")), "wrap"],
    ["Targeted", (each) => number(each.systemMetrics?.results?.targetedCount ?? 0), "number"],
    ["Applied", (each) => number(each.systemMetrics?.results?.appliedCount ?? 0), "number"],
    ...(found.some((each) => each.content?.modulesContent) ? [["Reporting success", (each) => reporting(each, "reportedSuccessfulCount", "good"), "number"],
      ["Reporting failure", (each) => reporting(each, "reportedFailedCount", "bad"), "number"]] : []),
    ...(found.some((each) => Object.keys(each.metrics?.queries ?? {}).length) ? [["Own metrics", (each) => Object.entries(each.metrics?.results ?? {}).map(([name, value]) => `${name} ${number(value)}`).join(", "), "wrap"]] : []),
    ["Changed", (each) => when(each.lastUpdatedTimeUtc)],
  ], found, "There is none. IoTHubConfigurationManager of azure.iot.hub makes them; a manifest that was applied to one device is in that device's modules.")),
  found.map((each) => el("div", { class: "card slim" }, more(`${each.id}, as JSON`, json(each, each.id))))]);
  await every(5, signal, async () => draw(await get("configurations", signal)), stale.note);
}

function reporting(each, name, kind_) {
  const value = each.systemMetrics?.results?.[name];
  return value ? word(number(value), kind_) : "0";
}

