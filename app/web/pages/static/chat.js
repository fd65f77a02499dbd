// A participant's room, live: what is told is shown, what is written is sent, however the connection fares.
import { Composer } from "./chat-composer.js";
import { Link } from "./chat-link.js";
import { Log } from "./chat-log.js";

const room = document.querySelector("[data-room]");
const place = (name) => room.querySelector(`[data-${name}]`) ?? document.querySelector(`[data-${name}]`);
const { room: key, most, marks } = room.dataset;
const stream = place("stream");
const newer = place("newer");
const report = place("report");
const typing = new Map();
const TYPING_MS = 9000;
const NEAR_END = 80;
const TOGETHER_MS = 1000;
const CONNECTION = {
  connecting: "Connecting …",
  lost: "Connection lost. Trying again … What you write is kept.",
  elsewhere: "This conversation is open in another tab or window, and goes on there.",
  refused: "We can’t connect to the conversation just now.",
};
const ENDED = {
  time: "The time is up: the conversation has ended.",
  left: "You have left the conversation.",
  removed: "The research team has ended the conversation.",
  dropped_out: "The connection was lost for too long: the conversation has ended.",
};
let deadline = null;
let paused = false;
let stood = 0;
let told = false;
let reported = null;
let wasOnline = false;
let fresh = 0;
let announced = -Infinity;
const { title } = document;

// What is said at the same moment is said together, so that nothing is cut off by the next.
function announce(words) {
  const now = performance.now();
  const line = place("announce");
  line.textContent = now - announced < TOGETHER_MS ? `${line.textContent} ${words}` : words;
  announced = now;
}

// The scroll position

const atEnd = () => stream.scrollHeight - stream.scrollTop - stream.clientHeight < NEAR_END;

function toEnd() {
  stream.scrollTop = stream.scrollHeight;
  newer.hidden = true;
  fresh = 0;
}

// What comes while nobody looks is counted, and begins below a line.
function unseen(article) {
  if (!article || article.hidden) return;
  if (fresh++ === 0) keepingEnd(() => log.unread(article));
  newer.textContent = fresh === 1 ? "1 new message" : `${fresh} new messages`;
  if (document.hidden) document.title = `(${fresh}) ${title}`;
}

function seen() {
  document.title = title;
  fresh = 0;
}

// Change what is shown, and stay at the end if that was in view.
function keepingEnd(change, { always = false, counts = false } = {}) {
  const stay = always || atEnd();
  change();
  if (stay) toEnd();
  else if (counts) newer.hidden = false;
}

newer.addEventListener("click", () => {
  toEnd();
  stream.focus();
});
stream.addEventListener("scroll", () => atEnd() && ((newer.hidden = true), seen()), { passive: true });
document.addEventListener("visibilitychange", () => !document.hidden && atEnd() && seen());
new ResizeObserver(() => newer.hidden && toEnd()).observe(stream);

// The clock

function tick() {
  if (deadline === null) return;
  const left = Math.max(0, Math.round((paused ? stood : deadline - performance.now()) / 1000));
  const clock = place("clock");
  clock.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  const last = left <= 60;
  clock.parentElement.classList.toggle("last", last);
  if (last && !told && left > 5 && !paused) {
    told = true;
    announce("One minute left.");
  }
  if (!last) told = false;
}
setInterval(tick, 1000);

// So many seconds are left from now on; while the clock stands still, as many as then.
function leaves(seconds) {
  deadline = performance.now() + seconds * 1000;
  stood = seconds * 1000;
  tick();
}

function hold(now) {
  if (now && !paused && deadline !== null) stood = Math.max(0, deadline - performance.now());
  paused = now;
  place("held").hidden = !now;
  place("clock").parentElement.classList.toggle("still", now);
  composer.hold(now ? "Paused: nothing can be sent just now." : "");
  tick();
}

// A notice of the researchers stays in sight until it is put away, and in the log for good.
function notice(event, live) {
  const text = String(event.text ?? "");
  if (!text) return;
  keepingEnd(() => log.notice(text, event.timestamp), { counts: true });
  const seen = `notice:${key}`;
  if (Number(sessionStorage.getItem(seen) ?? 0) >= event.position) return;
  place("pin-text").textContent = text;
  keepingEnd(() => (place("pin").hidden = false));
  place("pin-away").onclick = () => {
    sessionStorage.setItem(seen, String(event.position));
    keepingEnd(() => (place("pin").hidden = true));
    composer.text.focus();
  };
  if (!live) announce(`From the research team: ${text}`);
}

// What the researchers did with the clock. `hello` had told of what came before it.
function held(kind, event, live) {
  const minutes = Math.round(event.minutes * 10) / 10;
  const more = minutes > 0 ? `There ${minutes === 1 ? "is 1 minute" : `are ${minutes} minutes`} more.` : "There is more time now.";
  const words = { paused: "The conversation is paused.", resumed: "The conversation goes on.", extended: more }[kind];
  keepingEnd(() => log.note(words), { counts: true });
  if (!live) return;
  if (kind !== "extended") hold(kind === "paused");
  if (Number.isFinite(event.seconds_left)) leaves(event.seconds_left);
}

// What the room tells

function hello(event) {
  log.you = event.you;
  log.members = composer.members = event.members.slice(1);
  leaves(event.seconds_left);
  hold(event.paused);
  if (paused) announce("The conversation is paused, and the clock stands still.");
  if (event.position <= link.position) place("log").removeAttribute("aria-busy");
  tick();
}

function heard(event, live) {
  const { event_type: kind } = event;
  if (!kind) return message(event, live);
  switch (kind) {
    case "hello":
      return hello(event);
    case "typing":
      if (live) types(event.user);
      break;
    case "message_like":
      log.liked(event);
      break;
    case "message_report":
      keepingEnd(() => log.reported(event));
      break;
    case "user_block":
      for (const name of Object.keys(event.blocked)) blocked(name);
      break;
    case "notice":
      notice(event, live);
      break;
    case "paused":
    case "resumed":
    case "extended":
      held(kind, event, live);
      break;
    case "ended":
      over(event.reason);
  }
  caughtUp();
}

function message(event, live) {
  quiet(event.sender);
  const looks = atEnd() && !document.hidden;
  let article = null;
  keepingEnd(() => (article = log.add(event)), { always: Boolean(event.own) || !live, counts: !log.blocked.has(event.sender) });
  if (event.own) log.unread(null);
  else if (live && !looks) unseen(article);
  caughtUp();
}

// What was missed is not read aloud one by one.
function caughtUp() {
  if (link.position >= link.head) place("log").removeAttribute("aria-busy");
}

function types(name) {
  clearTimeout(typing.get(name));
  typing.set(name, setTimeout(() => quiet(name), TYPING_MS));
  showTyping();
}

function quiet(name) {
  clearTimeout(typing.get(name));
  if (typing.delete(name)) showTyping();
}

function showTyping() {
  const names = [...typing.keys()].filter((name) => !log.blocked.has(name));
  const line = place("typing");
  keepingEnd(() => {
    line.replaceChildren();
    if (!names.length) return;
    const dots = document.createElement("span");
    dots.className = "dots";
    dots.append(...[1, 2, 3].map(() => document.createElement("i")));
    const words = names.length > 2 ? "Several people are" : names.length === 2 ? `${names.join(" and ")} are` : `${names[0]} is`;
    line.append(dots, ` ${words} typing`);
  });
}

function blocked(name) {
  log.block(name);
  quiet(name);
  for (const member of room.querySelectorAll("[data-member]"))
    if (member.dataset.member === name) member.querySelector(".gone").hidden = false;
  composer.members = composer.members.filter((one) => one !== name);
}

function over(reason) {
  place("over").hidden = false;
  link.stop();
  const lost = composer.text.value.trim() || link.box.length ? " What you were writing was not sent." : "";
  const words = (ENDED[reason] ?? "The conversation has ended.") + lost;
  deadline = null;
  place("held").hidden = true;
  place("clock").textContent = "0:00";
  for (const timer of typing.values()) clearTimeout(timer);
  typing.clear();
  showTyping();
  log.unsent([]);
  composer.close();
  sessionStorage.removeItem(`unsent:${key}`);
  place("over-words").textContent = words;
  announce(words);
  toEnd();
  if (!document.querySelector("dialog[open]")) place("over").focus({ preventScroll: true });
}

// The connection

function changed(state) {
  const line = place("connection");
  line.dataset.state = state;
  if (state === "over") {
    if (place("over").hidden) over("");
    line.textContent = "";
    return;
  }
  line.textContent = state === "online" ? (wasOnline ? "Connected again." : "") : (CONNECTION[state] ?? "");
  if (state === "online") {
    wasOnline = true;
    try {
      sessionStorage.removeItem("refused");
    } catch {}
    setTimeout(() => link.state === "online" && (line.textContent = ""), 3000);
  }
  if (state === "connecting" || state === "lost") place("log").setAttribute("aria-busy", "true");
  if (state === "elsewhere") {
    const here = document.createElement("button");
    here.className = "small quiet";
    here.textContent = "Use it here";
    here.addEventListener("click", () => link.connect());
    line.append(" ", here);
  }
  if (state === "refused") refusedByRoom(line);
}

// The room is at an end, or will not have this page: the server knows which page is next. Asked once, not in a circle.
function refusedByRoom(line) {
  const before = Number(sessionStorage.getItem("refused") ?? 0);
  if (Date.now() - before > 15000) {
    sessionStorage.setItem("refused", String(Date.now()));
    location.assign("/s");
    return;
  }
  const other = document.createElement("a");
  other.href = "/s?plain=1";
  other.textContent = "Use the plain version";
  line.append(" ", other);
}

async function ask(path, body) {
  try {
    const answer = await fetch(`/session/${key}/message/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user: log.you, ...body }),
    });
    if (!answer.ok) throw new Error(String(answer.status));
    return true;
  } catch {
    announce("That did not work. Try again in a moment.");
    place("problem").textContent = "That did not work. Try again in a moment.";
    return false;
  }
}

const log = new Log(place("log"), place("unsent"), {
  marks: Boolean(marks),
  acts: {
    answer: (one) => composer.answer(one, log.named(one.sender), log.plain(one.content)),
    like: (one) => ask(`${one.message_id}/like`, {}),
    report: (one) => (one.reported ? ask(`${one.message_id}/report`, {}) : openReport(one)),
  },
});

function openReport(one) {
  reported = one;
  place("report-text").textContent = log.plain(one.content);
  place("report-name").textContent = one.sender;
  place("report-reason").value = "";
  place("report-block").checked = false;
  report.returnValue = "";
  report.showModal();
}

report.addEventListener("close", async () => {
  const one = reported;
  if (report.returnValue !== "send" || !one) return;
  const block = place("report-block").checked;
  if (await ask(`${one.message_id}/report`, { reason: place("report-reason").value.trim(), block }))
    announce(block ? `Reported, and ${one.sender} is blocked.` : "Reported. Thank you.");
});

const composer = new Composer(place("composer"), key, Number(most), {
  announce,
  send: (written) => {
    link.say(written);
    toEnd();
  },
});

const link = new Link(key, {
  changed,
  told: heard,
  unsent: (list) => keepingEnd(() => log.unsent(list)),
  refused: (one, why) => composer.giveBack(one.content, why),
});

// On a phone the keyboard covers part of the page: the room takes what is left.
const view = window.visualViewport;
const sheet = new CSSStyleSheet();
document.adoptedStyleSheets.push(sheet);
function fit() {
  if (view.scale <= 1.01) sheet.replaceSync(`:root { --view: ${view.height}px; }`);
}
view?.addEventListener("resize", fit);

for (const members of room.querySelectorAll("details.members"))
  members.open = matchMedia("(min-width: 52rem)").matches;
log.unsent(link.box);
link.connect();
if (matchMedia("(pointer: fine)").matches) composer.text.focus();
