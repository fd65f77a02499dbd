// A file's text is put into the field beside it; a form is sent once.
for (const place of document.querySelectorAll("[data-file]")) {
  const form = place.closest("form");
  const words = place.querySelector("[data-file-words]");
  place.hidden = false;
  place.querySelector("input").addEventListener("change", async (event) => {
    const file = event.target.files[0];
    if (!file) return;
    try {
      form.elements[place.dataset.file].value = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      words.textContent = `${file.name} is in the field below.`;
    } catch {
      words.textContent = "This file is not UTF-8 text: save it as UTF-8 first.";
    }
  });
}

for (const form of document.querySelectorAll("form.builder, form[data-once]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => delete form.dataset.sent);
}
