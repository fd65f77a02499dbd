// The admin's pages of personas: preview while typing, files into text, tick all, a word while a model is asked.
const editor = document.querySelector("[data-editor]");

if (editor) {
  const words = document.querySelector("[data-seen-words]");
  let timer = 0;
  let asked = 0;

  async function show() {
    const mine = ++asked;
    const body = new URLSearchParams(new FormData(editor));
    body.set("fragment", "1");
    document.querySelector("[data-seen]").setAttribute("aria-busy", "true");
    try {
      const answer = await fetch("/admin/personas/preview", { method: "POST", body, headers: { Accept: "text/html" } });
      if (mine !== asked) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-seen]");
      if (!fresh) throw new Error(String(answer.status));
      document.querySelector("[data-seen]").replaceWith(fresh);
      const count = fresh.querySelector(".count strong");
      words.textContent = count ? "as it stands in the form" : "";
    } catch {
      if (mine !== asked) return;
      document.querySelector("[data-seen]").removeAttribute("aria-busy");
      words.textContent = "No connection: this may be behind what you wrote.";
    }
  }

  editor.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, 400);
  });
  document.querySelector("[data-preview-button]").hidden = true;

  let changed = false;
  editor.addEventListener("input", () => (changed = true));
  editor.addEventListener("submit", () => (changed = false));
  addEventListener("beforeunload", (event) => {
    if (changed) event.preventDefault();
  });
}

const tick = document.querySelector("[data-tick-all]");
if (tick) {
  const all = tick.querySelector("input");
  const boxes = [...document.querySelectorAll('input[type="checkbox"][name="persona"]')];
  const words = tick.querySelector("[data-tick-words]");
  const count = () => {
    const n = boxes.filter((box) => box.checked).length;
    words.textContent = n ? `${n} ticked` : "Tick all";
    all.checked = n > 0 && n === boxes.length;
    all.indeterminate = n > 0 && n < boxes.length;
  };
  tick.hidden = boxes.length === 0;
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    count();
  });
  for (const box of boxes) box.addEventListener("change", count);
  count();
}

const importer = document.querySelector("[data-import]");
if (importer) {
  const place = importer.querySelector("[data-file]");
  const words = importer.querySelector("[data-file-words]");
  const text = importer.querySelector("textarea");
  place.hidden = false;
  place.querySelector("input").addEventListener("change", async (event) => {
    const file = event.target.files[0];
    if (!file) return;
    try {
      text.value = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      importer.querySelector("[data-import-name]").value = file.name;
      words.textContent = `${file.name} is in the field below.`;
    } catch {
      words.textContent = "This file is not UTF-8 text: save it as UTF-8 first.";
    }
  });
  importer.addEventListener("submit", (event) => {
    const size = new URLSearchParams(new FormData(importer, event.submitter)).toString().length;
    if (size <= Number(importer.dataset.most)) return;
    event.preventDefault();
    words.textContent = "This is too large to send at once: split it, or use the command simfeed personas import.";
    words.scrollIntoView({ block: "center" });
  });
}

for (const form of document.querySelectorAll("form[data-busy]"))
  form.addEventListener("submit", (event) => {
    if (event.submitter?.formMethod === "get") return;
    setTimeout(() => {
      event.submitter.disabled = true;
      event.submitter.textContent = form.dataset.busy;
    });
  });
addEventListener("pageshow", (event) => {
  if (event.persisted && document.querySelector("form[data-busy]")) location.reload();
});
