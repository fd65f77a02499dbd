// Researchers' pages of studies: rows and preview of the builder without leaving it, and pages that keep up with a study.
const builder = document.querySelector("[data-builder]");
const importer = document.querySelector("[data-import]");

function sent(form, submitter) {
  return new URLSearchParams(new FormData(form, submitter));
}

async function page(address, body) {
  const answer = await fetch(address, body ? { method: "POST", body, headers: { Accept: "text/html" } } : { headers: { Accept: "text/html" } });
  if (answer.redirected || answer.status >= 500) throw new Error(String(answer.status));
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function keepOpen(old, fresh, name) {
  for (const details of fresh.querySelectorAll(`details[${name}]`)) {
    const was = old.querySelector(`details[${name}="${CSS.escape(details.getAttribute(name))}"]`);
    if (was) details.open = was.open;
  }
}

function fit(set) {
  const kind = set.querySelector("select[name$='-kind']");
  if (!kind) return;
  for (const part of set.querySelectorAll("[data-for]")) {
    const filled = [...part.querySelectorAll("input, textarea")].some((field) => field.value);
    part.hidden = !filled && !part.dataset.for.split(" ").includes(kind.value) && !part.querySelector(".wrong");
  }
}

if (builder) {
  const words = builder.querySelector("[data-words]");
  let changed = false;
  let timer = 0;
  let asked = 0;

  const fitAll = () => builder.querySelectorAll(".row-set").forEach(fit);
  fitAll();

  async function preview() {
    const mine = ++asked;
    const body = sent(builder);
    body.set("do", "preview");
    body.set("fragment", "1");
    const place = document.querySelector("[data-seen]");
    place.setAttribute("aria-busy", "true");
    try {
      const fresh = (await page(builder.action, body)).querySelector("[data-seen]");
      if (mine !== asked) return;
      if (!fresh) throw new Error("no preview");
      const old = document.querySelector("[data-seen]");
      if (fresh.querySelector("details") || !old.querySelector("details")) {
        keepOpen(old, fresh, "data-phone");
        old.replaceWith(fresh);
        words.textContent = "";
      } else {
        old.removeAttribute("aria-busy");
        words.textContent = "The preview waits until all fields are right.";
      }
    } catch {
      if (mine !== asked) return;
      place.removeAttribute("aria-busy");
      words.textContent = "No connection: the preview may be behind what you wrote.";
    }
  }

  async function reshape(submitter) {
    const group = submitter.value.split("-")[1];
    const old = builder.querySelector(`[data-rows="${group}"]`);
    old.setAttribute("aria-busy", "true");
    try {
      const fresh = (await page(builder.action, sent(builder, submitter))).querySelector(`[data-rows="${group}"]`);
      if (!fresh) throw new Error("no rows");
      keepOpen(old, fresh, "data-keep");
      old.replaceWith(fresh);
      fitAll();
      const target = document.getElementById(new URL(submitter.formAction).hash.slice(1)) ?? fresh;
      (target.querySelector("input, textarea, select") ?? fresh.querySelector("button")).focus();
    } catch {
      old.removeAttribute("aria-busy");
      words.textContent = "No connection: the rows are as they were. Try again.";
    }
  }

  builder.addEventListener("input", (event) => {
    changed = true;
    const set = event.target.closest(".row-set");
    if (set && event.target.name.endsWith("-kind")) fit(set);
    clearTimeout(timer);
    if (document.querySelector("[data-seen] details")) timer = setTimeout(preview, 800);
  });
  builder.addEventListener("submit", (event) => {
    const deed = event.submitter?.value ?? "save";
    if (sent(builder, event.submitter).toString().length > Number(builder.dataset.most)) {
      event.preventDefault();
      words.textContent = "This is too large to send at once: use the command simfeed study create.";
      words.scrollIntoView({ block: "center" });
      return;
    }
    if (/^(add|drop|up)-/.test(deed)) {
      event.preventDefault();
      changed = true;
      reshape(event.submitter);
    } else if (deed === "preview") {
      event.preventDefault();
      preview().then(() => document.getElementById("preview").scrollIntoView({ block: "nearest" }));
    } else changed = false;
  });
  addEventListener("beforeunload", (event) => {
    if (changed) event.preventDefault();
  });
}

if (importer) {
  const place = importer.querySelector("[data-file]");
  const words = importer.querySelector("[data-file-words]");
  place.hidden = false;
  place.querySelector("input").addEventListener("change", async (event) => {
    const file = event.target.files[0];
    if (!file) return;
    try {
      importer.querySelector("textarea").value = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      words.textContent = `${file.name} is in the field below.`;
    } catch {
      words.textContent = "This file is not UTF-8 text: save it as UTF-8 first.";
    }
  });
  importer.addEventListener("submit", (event) => {
    if (sent(importer).toString().length <= Number(importer.dataset.most)) return;
    event.preventDefault();
    words.textContent = "This is too large to send at once: use the command simfeed study create.";
  });
}

const live = document.querySelector("[data-follow]");
if (live) {
  const words = document.querySelector("[data-follow-words]");
  const seconds = Number(live.dataset.follow);
  let busy = false;

  function say(text, lost) {
    if (words.textContent !== text) words.textContent = text;
    words.toggleAttribute("data-lost", lost);
  }

  async function refresh() {
    const place = document.querySelector("[data-follow]");
    if (busy || document.hidden || place.contains(document.activeElement) || !getSelection().isCollapsed) return;
    busy = true;
    try {
      const fresh = (await page(location.href)).querySelector("[data-follow]");
      if (!fresh) throw new Error("no such part");
      const scrolled = [...place.querySelectorAll(".scroll")].map((part) => part.scrollLeft);
      place.replaceWith(fresh);
      fresh.querySelectorAll(".scroll").forEach((part, n) => (part.scrollLeft = scrolled[n] ?? 0));
      say("", false);
      if (fresh.dataset.followEnd) clearInterval(timer);
    } catch {
      say("Connection lost — trying again …", true);
    } finally {
      busy = false;
    }
  }

  const timer = setInterval(refresh, seconds * 1000);
  if (live.dataset.followEnd) clearInterval(timer);
  document.addEventListener("visibilitychange", () => document.hidden || live.dataset.followEnd || refresh());
  document.querySelector("[data-reload]").textContent = "Refresh now";
}
