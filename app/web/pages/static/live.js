// The feed, live: counts what is new, shows it when asked to, and never moves what is being read.
const feed = document.querySelector("[data-live-feed]");
const pill = document.querySelector("[data-pill]");
const words = document.querySelector("[data-pill-words]");
const line = document.querySelector("[data-live-words]");
const dot = document.querySelector("[data-live]");
const waiting = new Set();
let newest = Number(feed.dataset.newest);
let head = feed.dataset.head;
let lost = false;

function compact(n) {
  if (n < 1000) return String(n);
  return n < 1e6 ? `${(n / 1e3).toFixed(1).replace(/\.0$/, "")}K` : `${(n / 1e6).toFixed(1).replace(/\.0$/, "")}M`;
}

function showPill() {
  pill.hidden = waiting.size === 0;
  words.textContent = waiting.size === 1 ? "1 new post" : `${waiting.size > 99 ? "99+" : waiting.size} new posts`;
}

function count(postId, kind, number) {
  const place = document.querySelector(`[data-post="${Number(postId)}"] [data-count="${kind}"]`);
  if (place && Number.isInteger(number)) place.textContent = compact(number);
}

async function show() {
  feed.setAttribute("aria-busy", "true");
  try {
    if (newest === 0 || waiting.size > 50) {
      location.reload();
      return;
    }
    const answer = await fetch(`/fragments/posts?newer=${newest}`, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const cards = [...page.querySelectorAll("article.post")].filter((card) => !document.getElementById(card.id));
    for (const card of cards) {
      card.classList.add("post-new");
      newest = Math.max(newest, Number(card.dataset.post));
    }
    feed.prepend(...cards);
    waiting.clear();
    showPill();
    let place = 0;
    for (const card of feed.querySelectorAll("article.post")) card.setAttribute("aria-posinset", String(++place));
    window.scrollTo({ top: 0, behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    cards[0]?.focus({ preventScroll: true });
  } catch {
    line.textContent = "The new posts could not be fetched. Try again in a moment.";
  } finally {
    feed.setAttribute("aria-busy", "false");
  }
}

function listen() {
  const behind = head ? `&last_event_id=${head}` : ""; // what happened since the page was made is told first
  const source = new EventSource(`/events?types=post,comment,like${behind}`);
  source.addEventListener("open", () => {
    dot.dataset.live = "on";
    line.textContent = lost ? "Connected again." : "";
    lost = false;
  });
  source.addEventListener("error", () => {
    dot.dataset.live = "off";
    lost = true;
    line.textContent = "Connection lost — trying again …";
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000); // else the browser tries by itself
  });
  source.addEventListener("post", (event) => {
    head = event.lastEventId;
    const post = JSON.parse(event.data);
    if (post.id > newest) waiting.add(post.id);
    showPill();
  });
  source.addEventListener("comment", (event) => {
    const comment = JSON.parse(event.data);
    count(comment.post_id, "comments", comment.comments_count);
  });
  source.addEventListener("like", (event) => {
    const like = JSON.parse(event.data);
    count(like.post_id, "likes", like.likes_count);
  });
  source.addEventListener("reset", () => {
    line.textContent = "Much has happened meanwhile: reload to see it.";
  });
  addEventListener("pagehide", () => source.close(), { once: true });
}

pill.addEventListener("click", show);

const older = document.querySelector("[data-older]");
older?.addEventListener("click", async (event) => {
  event.preventDefault();
  older.setAttribute("aria-disabled", "true");
  feed.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(older.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    let place = feed.querySelectorAll("article.post").length;
    const cards = [...page.querySelectorAll("article.post")].filter((card) => !document.getElementById(card.id));
    for (const card of cards) card.setAttribute("aria-posinset", String(++place));
    feed.append(...cards);
    const next = page.querySelector("[data-older]");
    if (next) older.href = next.getAttribute("href");
    else older.closest("p").remove();
    cards[0]?.focus({ preventScroll: true });
  } catch {
    location.assign(older.href);
  } finally {
    older.removeAttribute("aria-disabled");
    feed.setAttribute("aria-busy", "false");
  }
});

feed.addEventListener("keydown", (event) => {
  if (event.key !== "PageDown" && event.key !== "PageUp") return;
  const card = event.target.closest("article.post");
  const next = event.key === "PageDown" ? card?.nextElementSibling : card?.previousElementSibling;
  if (!next) return;
  event.preventDefault();
  next.focus();
});

listen();
