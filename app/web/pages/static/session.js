// A session's page, live: new lines are appended as they come; what came of it is fetched anew now and then.
const place = document.querySelector("[data-session]");
const list = document.querySelector("[data-lines]");
const here = `/admin/sessions/${encodeURIComponent(place.dataset.session)}`;
const REFRESH_MS = 4000;
const LINES_MOST = 400;
let fetched = Date.now();
let lost = false;
let state = place.querySelector("[data-state]").className.replace(/.*state-/, "");

function say(words) {
  place.querySelector("[data-live-words]").textContent = words;
}

function show({ state: now, percent, words }) {
  for (const [name, text] of Object.entries(words))
    for (const at of document.querySelectorAll(`[data-word="${name}"]`)) if (at.textContent !== text) at.textContent = text;
  place.querySelector("[data-state]").className = `state state-${now}`;
  place.querySelector("[data-progress]").value = percent;
}

function append(html) {
  const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
  const parsed = new DOMParser().parseFromString(`<ol>${html}</ol>`, "text/html");
  const fresh = [...parsed.querySelectorAll("ol > li")].filter((li) => !li.id || !document.getElementById(li.id));
  for (const li of fresh) li.classList.add("line-new");
  list.append(...fresh);
  document.querySelector("[data-nothing]")?.remove();
  while (list.children.length > LINES_MOST) list.firstElementChild.remove();
  if (atEnd && fresh.length && scrollY > 0) scrollTo({ top: document.documentElement.scrollHeight });
}

function busy(part) {
  return part.contains(document.activeElement) || !getSelection().isCollapsed || part.querySelector("details[open]");
}

// What somebody is typing stays, and so does the cursor.
function swap(old, now) {
  const [typed, field] = [old.querySelector("#f-point"), now.querySelector("#f-point")];
  if (typed && field) field.value = typed.value;
  const writes = typed && typed === document.activeElement;
  old.replaceWith(now);
  if (writes) field?.focus();
}

async function refresh(force) {
  if (!force && (document.hidden || Date.now() - fetched < REFRESH_MS)) return;
  fetched = Date.now();
  try {
    const answer = await fetch(here, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const name of ['[data-part="jump"]', '[data-part="found"]', '[data-part="rest"]', "[data-deeds]"]) {
      const [old, now] = [document.querySelector(name), page.querySelector(name)];
      if (old && now && (force || !busy(old))) swap(old, now);
    }
  } catch {
    /* the next event tries again */
  }
}

const source = new EventSource(`${here}/events?after=${Number(place.dataset.last)}`);
source.addEventListener("open", () => {
  say(lost ? "Connected again." : "");
  lost = false;
});
source.addEventListener("error", () => {
  lost = true;
  say(source.readyState === EventSource.CLOSED ? "This page does not move any more: reload it." : "Connection lost — trying again …");
});
source.addEventListener("news", (event) => {
  const told = JSON.parse(event.data);
  show(told);
  if (told.html) append(told.html);
  const turned = state !== told.state;
  state = told.state;
  refresh(turned);
});
source.addEventListener("end", async () => {
  source.close();
  await refresh(true);
  say("The session is at its end.");
});
addEventListener("pagehide", () => source.close(), { once: true });
