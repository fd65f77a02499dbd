// The graph: the slider fetches a moment and puts its parts in place, a dot tells who it is, and one can come closer.
const form = document.querySelector("[data-graph-form]");
const words = document.querySelector("[data-graph-words]");
const until = form.elements.until;
const untilWords = form.querySelector("[data-until-words]");
const play = form.querySelector("[data-play]");
const stage = document.querySelector("[data-stage]");
const WIDTH = 1000;
const HEIGHT = 720;
const view = { x: 0, y: 0, zoom: 1 };
let wanted = 0;
let playing = 0;
let touched = null;

/* time */

function moment(seconds) {
  const date = new Date(seconds * 1000);
  const part = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options }).format(date);
  return `${part({ day: "2-digit", month: "short", year: "numeric" })}, ${part({ timeStyle: "medium" })} UTC`;
}

function address() {
  const given = new URLSearchParams(new FormData(form));
  if (until.value === until.max) given.delete("until");
  return `${form.getAttribute("action")}?${given}`;
}

function sayWhen() {
  untilWords.textContent = moment(Math.min(Number(until.value), Number(until.dataset.last)));
  until.setAttribute("aria-valuetext", untilWords.textContent);
}

async function show() {
  const mine = ++wanted;
  sayWhen();
  const from = address();
  try {
    const answer = await fetch(from, { headers: { Accept: "text/html" } });
    if (mine !== wanted) return true;
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine !== wanted) return true;
    for (const old of document.querySelectorAll("[data-part]")) replace(old, page);
    for (const tab of document.querySelectorAll(".tabs a")) {
      const same = [...page.querySelectorAll(".tabs a")].find((other) => other.textContent === tab.textContent);
      if (same) tab.setAttribute("href", same.getAttribute("href"));
    }
    history.replaceState(null, "", from);
    words.textContent = "";
    look();
    return true;
  } catch {
    if (mine === wanted) words.textContent = "The graph of then could not be fetched: try again in a moment.";
    return false;
  }
}

function replace(old, page) {
  const fresh = page.querySelector(`[data-part="${old.dataset.part}"]`);
  if (!fresh) return;
  const focused = old.contains(document.activeElement) ? document.activeElement.closest("[data-node]")?.dataset.node : null;
  const open = [...old.querySelectorAll("details")].map((one) => one.open);
  old.replaceChildren(...fresh.childNodes);
  old.querySelectorAll("details").forEach((one, k) => (one.open = open[k] ?? false));
  const same = old.querySelector("[data-graph]") && old.querySelector(`[data-node="${Number(focused ?? touched ?? -1)}"]`);
  if (same && focused !== null) same.focus({ preventScroll: true });
  if (same) touch(same);
}

let soon = 0;
until.addEventListener("input", () => {
  stop();
  sayWhen();
  clearTimeout(soon);
  soon = setTimeout(show, 120);
});
form.addEventListener("change", (event) => {
  if (event.target !== until) show();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});

function stop() {
  clearTimeout(playing);
  playing = 0;
  play.setAttribute("aria-pressed", "false");
}

async function next() {
  if (!playing) return;
  until.stepUp();
  const fine = await show();
  if (!playing) return;
  if (!fine || until.value === until.max) stop();
  else playing = setTimeout(next, 650);
}

play.addEventListener("click", () => {
  if (playing) {
    stop();
    return;
  }
  if (until.value === until.max) until.value = until.min;
  play.setAttribute("aria-pressed", "true");
  playing = setTimeout(next, 0);
});

/* who is who */

function curve(from, to) {
  const [x, y] = [Number(from.dataset.x), Number(from.dataset.y)];
  const [dx, dy] = [Number(to.dataset.x) - x, Number(to.dataset.y) - y];
  return `M${x} ${y}q${dx / 2 - dy / 8} ${dy / 2 + dx / 8} ${dx} ${dy}`;
}

function touch(dot) {
  touched = dot.dataset.node;
  const all = [...stage.querySelectorAll("[data-node]")];
  const byNode = new Map(all.map((one) => [one.dataset.node, one]));
  const to = (one) => one.dataset.to.split(" ").filter(Boolean);
  const lines = to(dot).filter((one) => byNode.has(one)).map((one) => curve(dot, byNode.get(one)));
  for (const one of all) if (to(one).includes(touched)) lines.push(curve(one, dot));
  stage.querySelector("[data-touched]").setAttribute("d", lines.join(""));
  for (const one of all) one.classList.toggle("is-touched", one === dot);
  const panel = document.querySelector("[data-panel]");
  panel.querySelector("[data-panel-hint]").hidden = true;
  panel.querySelector("[data-panel-told]").hidden = false;
  for (const place of panel.querySelectorAll("[data-told]")) {
    place.textContent = dot.dataset[place.dataset.told];
    place.classList.toggle("unneeded", !place.textContent);
  }
  panel.querySelector("a").setAttribute("href", dot.getAttribute("href"));
}

/* coming closer */

function look() {
  const svg = stage.querySelector("[data-graph]");
  const [width, height] = [WIDTH / view.zoom, HEIGHT / view.zoom];
  view.x = Math.min(Math.max(view.x, 0), WIDTH - width);
  view.y = Math.min(Math.max(view.y, 0), HEIGHT - height);
  svg.setAttribute("viewBox", `${view.x} ${view.y} ${width} ${height}`);
  stage.classList.toggle("is-close", view.zoom > 1);
}

function zoom(by, x = view.x + WIDTH / view.zoom / 2, y = view.y + HEIGHT / view.zoom / 2) {
  const before = view.zoom;
  view.zoom = by === 0 ? 1 : Math.min(Math.max(view.zoom * by, 1), 12);
  view.x = x - ((x - view.x) * before) / view.zoom;
  view.y = y - ((y - view.y) * before) / view.zoom;
  look();
}

function at(event) {
  const box = stage.querySelector("[data-graph]").getBoundingClientRect();
  const unit = WIDTH / view.zoom / box.width;
  return { x: view.x + (event.clientX - box.left) * unit, y: view.y + (event.clientY - box.top) * unit, unit };
}

if (stage) {
  const dotOf = (event) => event.target.closest?.("[data-node]");
  const pointers = new Map();
  let moved = 0;
  let apart = 0;
  let byTouch = false;
  document.querySelector("[data-panel-hint]").textContent = "Point at a dot, or reach it by Tab, to see who it is.";

  stage.addEventListener("pointerover", (event) => {
    const dot = dotOf(event);
    if (dot && event.pointerType === "mouse" && pointers.size === 0) touch(dot);
  });
  stage.addEventListener("focusin", (event) => {
    const dot = dotOf(event);
    if (!dot) return;
    touch(dot);
    const [x, y] = [Number(dot.dataset.x), Number(dot.dataset.y)];
    const [width, height] = [WIDTH / view.zoom, HEIGHT / view.zoom];
    if (x < view.x || y < view.y || x > view.x + width || y > view.y + height) {
      view.x = x - width / 2;
      view.y = y - height / 2;
      look();
    }
  });
  stage.addEventListener("click", (event) => {
    const dot = dotOf(event);
    if (moved > 6) event.preventDefault();
    else if (dot && byTouch && dot.dataset.node !== stage.dataset.tapped) {
      event.preventDefault();
      stage.dataset.tapped = dot.dataset.node;
      touch(dot);
    }
  });
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  stage.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      if (!event.target.closest("[data-graph]")) return;
      event.preventDefault();
      const { x, y } = at(event);
      zoom(Math.exp(-event.deltaY / 200), x, y);
    },
    { passive: false },
  );
  stage.addEventListener("pointerdown", (event) => {
    byTouch = event.pointerType === "touch";
    moved = 0;
    apart = 0;
    if (event.target.closest("[data-graph]")) pointers.set(event.pointerId, event);
  });
  addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    pointers.set(event.pointerId, event);
    if (pointers.size === 2) {
      const [a, b] = [...pointers.values()];
      const distance = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      const { x, y } = at({ clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 });
      if (apart) zoom(distance / apart, x, y);
      apart = distance;
      moved += 10;
      return;
    }
    const { unit } = at(event);
    moved += Math.hypot(event.clientX - last.clientX, event.clientY - last.clientY);
    if (view.zoom === 1) return;
    view.x -= (event.clientX - last.clientX) * unit;
    view.y -= (event.clientY - last.clientY) * unit;
    look();
  });
  for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, (event) => pointers.delete(event.pointerId));
  for (const button of stage.querySelectorAll("[data-zoom-by]"))
    button.addEventListener("click", () => zoom(Number(button.dataset.zoomBy)));
}
