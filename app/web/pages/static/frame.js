// On every page: theme, relative times, the countdown to the next cycle.
const THEMES = { system: "as the system", light: "light", dark: "dark" };
const button = document.querySelector("[data-theme-button]");

function chosen() {
  return document.documentElement.dataset.theme ?? "system";
}

function choose(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    /* it holds for this page then */
  }
  button.setAttribute("aria-label", `Theme: ${THEMES[theme]}`);
  button.title = button.getAttribute("aria-label");
}

if (button) {
  button.classList.remove("waits");
  choose(chosen());
  button.addEventListener("click", () => {
    const all = Object.keys(THEMES);
    choose(all[(all.indexOf(chosen()) + 1) % all.length]);
  });
}

export function ago(then, now = Date.now()) {
  const seconds = Math.max(0, Math.floor((now - then) / 1000));
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60]])
    if (seconds >= size) return `${Math.floor(seconds / size)}${unit}`;
  return `${seconds}s`;
}

function countdown(time, now) {
  const left = Math.max(0, Math.round((Date.parse(time.dateTime) - now) / 1000));
  if (left === 0) return "now";
  const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
  const two = (n) => String(n).padStart(2, "0");
  return hours ? `in ${hours}:${two(minutes)}:${two(seconds)}` : `in ${minutes}:${two(seconds)}`;
}

function refresh() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-countdown]")) time.textContent = countdown(time, now);
}

function refreshAges() {
  for (const time of document.querySelectorAll("time[data-ago]")) time.textContent = ago(Date.parse(time.dateTime));
}

refresh();
setInterval(refresh, 1000);
setInterval(refreshAges, 30000);

for (const form of document.querySelectorAll("form[data-confirm]"))
  form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.confirm)) event.preventDefault();
  });

for (const copier of document.querySelectorAll("[data-copy]")) {
  copier.hidden = false;
  copier.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.querySelector(copier.dataset.copy).textContent);
    const words = copier.textContent;
    copier.textContent = "Copied";
    setTimeout(() => (copier.textContent = words), 1500);
  });
}

for (const here of document.querySelectorAll(".filters [aria-current], .tabs [aria-current]")) {
  const row = here.closest(".filters, .tabs"); // on a phone they scroll sideways
  row.scrollLeft += here.getBoundingClientRect().left - row.getBoundingClientRect().left - 16;
}
