// The form of a session: of the ways to say who takes part, only the chosen one is shown; a form is sent once.
const modes = document.querySelectorAll('input[name="mode"]');

function show() {
  const chosen = [...modes].find((each) => each.checked)?.value;
  for (const part of document.querySelectorAll("[data-mode]")) part.hidden = part.dataset.mode !== chosen;
}

for (const each of modes) each.addEventListener("change", show);
if (modes.length) show();

const form = document.querySelector(".session-form");
form.addEventListener("submit", (event) => {
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
addEventListener("pageshow", () => delete form.dataset.sent);
