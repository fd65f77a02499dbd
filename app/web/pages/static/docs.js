// The documentation, alive: opens what is linked to, and asks the API what a form says.
const token = document.querySelector("#token");
document.querySelector("[data-token]").hidden = false;

function openLinked() {
  const linked = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (linked?.matches("details")) linked.open = true;
}

function address(form) {
  let path = form.dataset.try;
  const query = new URLSearchParams();
  for (const input of form.querySelectorAll("input")) {
    const value = input.value.trim();
    if (input.dataset.in === "path") path = path.replace(`{${input.name}}`, encodeURIComponent(value));
    else if (value) query.set(input.name, value);
  }
  return query.size ? `${path}?${query}` : path;
}

async function ask(form) {
  const said = form.querySelector("[data-said]");
  const shown = form.querySelector("[data-answer]");
  const headers = { Accept: "application/json" };
  if ("signed" in form.dataset && token.value.trim()) headers.Authorization = `Bearer ${token.value.trim()}`;
  said.textContent = "Asking …";
  try {
    const began = performance.now();
    const answer = await fetch(address(form), { headers, credentials: "omit" });
    const text = await answer.text();
    said.textContent = `${answer.status} ${answer.statusText}, ${Math.round(performance.now() - began)} ms, ${address(form)}`;
    try {
      shown.textContent = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      shown.textContent = text || "(no body)";
    }
    shown.hidden = false;
  } catch {
    said.textContent = "The server can't be reached. Try again in a moment.";
  }
}

for (const form of document.querySelectorAll("form[data-try]")) {
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(form);
  });
}

addEventListener("hashchange", openLinked);
openLinked();
