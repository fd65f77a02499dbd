// Worlds that are being made, dropped or read: the page is asked again until that has ended, and says so.
const EVERY_MS = 2000;
const SLOWEST_MS = 15000;
const words = document.querySelector("[data-moving-words]");
let wait = EVERY_MS;

function say(text) {
  if (!words || words.textContent === text) return;
  words.textContent = text;
  words.classList.toggle("unseen", !text);
}

async function look() {
  const old = document.querySelector("[data-fresh][data-moving]");
  if (!old) return;
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) return say("You are signed out: reload this page.");
      if (answer.status === 404) return say("It is not here any more: go back to all worlds.");
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const now = page.querySelector("[data-fresh]");
      if (!now) return say("This page has changed: reload it.");
      const held = old.contains(document.activeElement) && document.activeElement.getAttribute("href");
      old.replaceWith(now);
      if (held) [...now.querySelectorAll("a")].find((link) => link.getAttribute("href") === held)?.focus();
      wait = EVERY_MS;
      if (!now.hasAttribute("data-moving")) return say("Done. What is shown is as it stands now.");
      say("");
    } catch {
      wait = Math.min(SLOWEST_MS, wait * 2);
      say("No answer just now — trying again …");
    }
  }
  setTimeout(look, wait);
}

setTimeout(look, EVERY_MS);
