// On every page of a participant: leaving asks first, a form is sent once, codes can be copied.
const leave = document.getElementById("leave");
for (const link of document.querySelectorAll("[data-leave]"))
  link.addEventListener("click", (event) => {
    if (!leave) return;
    event.preventDefault();
    leave.showModal();
  });

for (const form of document.querySelectorAll("form[data-once]"))
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes"; // not disabled: the button's own value is sent with the form
  });

for (const button of document.querySelectorAll("[data-copy-from]")) {
  const code = document.getElementById(button.dataset.copyFrom);
  const words = button.querySelector("span");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      words.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // no clipboard on plain http: it is selected, to be copied by hand
      words.textContent = "Selected";
    }
    setTimeout(() => (words.textContent = "Copy"), 2000);
  });
}

const help = document.querySelector("details.help");
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !help?.open) return;
  help.open = false;
  help.querySelector("summary").focus();
});
addEventListener("click", (event) => {
  if (help?.open && !help.contains(event.target)) help.open = false;
});

document.querySelector("[data-focus]")?.focus();
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload(); // the back button: what was shown then may be past
});
