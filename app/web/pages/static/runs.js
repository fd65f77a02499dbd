// A run's page, live: the server tells when something has changed; what stands below is fetched anew now and then.
const place = document.querySelector("[data-run]");
const REFRESH_MS = 4000;
const SVG = "http://www.w3.org/2000/svg";
let fetched = Date.now();
let lost = false;

function say(words) {
  place.querySelector("[data-live-words]").textContent = words;
}

function show({ state, percent, bar, words }) {
  for (const [name, text] of Object.entries(words)) {
    const at = place.querySelector(`[data-word="${name}"]`);
    if (at && at.textContent !== text) at.textContent = text;
  }
  place.querySelector("[data-state]").className = `state state-${state}`;
  place.querySelector("[data-progress]").value = percent;
  const svg = place.querySelector("[data-bar]");
  const rects = bar.map(([name, x, width]) => {
    const rect = document.createElementNS(SVG, "rect");
    for (const [key, value] of Object.entries({ class: `bar-${name}`, x, width, height: 8 })) rect.setAttribute(key, value);
    return rect;
  });
  for (const old of svg.querySelectorAll("rect")) old.remove();
  svg.append(...rects);
}

function busy(rest) {
  return rest.contains(document.activeElement) || !getSelection().isCollapsed;
}

async function refresh(parts, force) {
  const rest = document.querySelector("[data-rest]");
  if (!force && (document.hidden || busy(rest) || Date.now() - fetched < REFRESH_MS)) return;
  fetched = Date.now();
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of parts) {
      const [old, now] = [document.querySelector(part), page.querySelector(part)];
      if (old && now) old.replaceWith(now);
    }
  } catch {
    /* the next event tries again */
  }
}

const source = new EventSource(`/admin/runs/${Number(place.dataset.run)}/events`);
source.addEventListener("open", () => {
  say(lost ? "Connected again." : "");
  lost = false;
});
source.addEventListener("error", () => {
  lost = true;
  say(source.readyState === EventSource.CLOSED ? "This page does not move any more: reload it." : "Connection lost — trying again …");
});
source.addEventListener("progress", (event) => {
  show(JSON.parse(event.data));
  refresh(["[data-rest]"], false);
});
source.addEventListener("end", async () => {
  source.close();
  await refresh([".run-actions", "[data-rest]"], true);
  say("The run is at an end.");
});
addEventListener("pagehide", () => source.close(), { once: true });
