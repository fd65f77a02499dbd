// A turn's trace, with keys j and k, a search within, steps that fold, and raw instead of pretty.
const trace = document.querySelector("[data-trace]");
const steps = trace ? [...trace.querySelectorAll("[data-step]")] : [];

function typing(event) {
  return event.target.closest("input, textarea, select, [contenteditable]") || event.ctrlKey || event.metaKey || event.altKey;
}

function current() {
  const line = 120;
  const above = steps.filter((step) => !step.classList.contains("missed") && step.getBoundingClientRect().top <= line);
  return above.length ? steps.indexOf(above.at(-1)) : -1;
}

function go(by) {
  const seen = steps.filter((step) => !step.classList.contains("missed"));
  const at = seen.indexOf(steps[current()]);
  const next = seen[Math.min(seen.length - 1, Math.max(0, at + by))];
  if (!next) return;
  history.replaceState(null, "", `#${next.id}`);
  next.scrollIntoView();
  next.focus({ preventScroll: true });
  mark();
}

function mark() {
  const at = steps[Math.max(0, current())];
  for (const link of trace.querySelectorAll(".tree a[aria-current]")) link.removeAttribute("aria-current");
  if (at) trace.querySelector(`.tree a[href="#${at.id}"]`)?.setAttribute("aria-current", "location");
}

function find(words, found) {
  const wanted = words.trim().toLowerCase();
  let hits = 0;
  for (const step of steps) {
    const missed = wanted !== "" && !step.textContent.toLowerCase().includes(wanted);
    step.classList.toggle("missed", missed);
    hits += !missed;
  }
  found.textContent = wanted === "" ? "" : hits === 0 ? "in no step" : `in ${hits} of ${steps.length} steps`;
}

if (trace) {
  const tools = trace.querySelector("[data-tools]");
  const within = tools.querySelector("input");
  const raw = tools.querySelector("[data-raw-button]");
  const fold = tools.querySelector("[data-fold]");
  tools.hidden = false;
  within.addEventListener("input", () => find(within.value, tools.querySelector("[data-found]")));
  raw.addEventListener("click", () => {
    const on = trace.classList.toggle("show-raw");
    raw.setAttribute("aria-pressed", String(on));
    for (const details of trace.querySelectorAll("[data-raw]")) details.open = on;
  });
  fold.addEventListener("click", () => {
    const open = fold.getAttribute("aria-expanded") === "true";
    for (const step of steps) step.classList.toggle("folded", open);
    fold.setAttribute("aria-expanded", String(!open));
    fold.textContent = open ? "Unfold steps" : "Fold steps";
  });
  document.addEventListener("keydown", (event) => {
    if (typing(event) || (event.key !== "j" && event.key !== "k")) return;
    event.preventDefault();
    go(event.key === "j" ? 1 : -1);
  });
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      mark();
    });
  }, { passive: true });
  mark();
}
