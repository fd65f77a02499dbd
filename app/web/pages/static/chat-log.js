// The messages of a room as the page shows them. All text goes in as text.
const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  like: "M12 20S4 15 4 9.5A4.3 4.3 0 0 1 12 7a4.3 4.3 0 0 1 8 2.500C20 15 12 20 12 20z",
  answer: "M10 8V4l-7 7 7 7v-4c5 0 8 1.500 10 5 0-6-3-11-10-11z",
  report: "M5 21V4h13l-3 4.500 3 4.500H5",
};
const NEAR_MS = 4 * 60 * 1000;
const SNIPPET = 120;
const HUES = 6;

export function make(tag, properties = {}, ...children) {
  const { dataset, ...rest } = properties;
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(rest))
    if (name.startsWith("aria-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  Object.assign(made.dataset, dataset);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

export function snippet(text) {
  const all = [...text.replace(/\s+/g, " ")];
  return all.length > SNIPPET ? `${all.slice(0, SNIPPET - 1).join("")}…` : all.join("");
}

export class Log {
  // `acts`: answer(message), like(message), report(message).
  constructor(place, unsentPlace, { marks, acts }) {
    Object.assign(this, { place, unsentPlace, marks, acts });
    this.shown = new Map();
    this.blocked = new Set();
    this.you = "participant";
    this.members = [];
    this.current = null;
    this.place.addEventListener("keydown", (event) => this.#move(event));
  }

  named(sender) {
    return sender === this.you ? "You" : sender;
  }

  add(message) {
    if (this.shown.has(message.message_id)) return null;
    const article = this.#draw(message);
    this.shown.set(message.message_id, { message, article });
    if (this.blocked.has(message.sender)) article.hidden = true;
    this.place.append(article);
    this.#reach(article);
    return article;
  }

  #draw(message) {
    const own = Boolean(message.own);
    const at = new Date(message.timestamp);
    const last = this.last;
    const follows = last && last.sender === message.sender && at - last.at < NEAR_MS;
    this.last = { sender: message.sender, at };
    const by = make("p", { className: "by" }, make("strong", { dir: "auto", textContent: this.named(message.sender) }));
    if (this.marks && !own) by.append(" ", make("span", { className: "mark", textContent: "AI" }));
    by.append(" ", make("time", { dateTime: message.timestamp, textContent: clock(at) }));
    const bubble = make("div", { className: "bubble" });
    const quoted = this.#quote(message);
    if (quoted) bubble.append(quoted);
    bubble.append(make("p", { className: "said", dir: "auto" }, ...this.#marked(message.content)));
    const like = this.#deed("like", "Like", message);
    const reply = this.#deed("answer", "Answer", message);
    like.disabled = own;
    const deeds = make("div", { className: "deeds", "aria-live": "off" }); // who likes stands beside the message
    deeds.append(...(own ? [reply, like] : [like, reply, this.#deed("report", "Report", message)]));
    const article = make("article", { className: "msg", dataset: { id: message.message_id } }, by, bubble, deeds);
    if (!own) article.prepend(this.#face(message.sender));
    article.classList.toggle("own", own);
    article.classList.toggle("follows", Boolean(follows));
    this.#count(article, message);
    return article;
  }

  #face(sender) {
    const [initial = "?"] = sender.trim();
    const hue = Math.max(0, this.members.indexOf(sender)) % HUES;
    return make("span", { className: `initial hue-${hue}`, "aria-hidden": "true", textContent: initial.toUpperCase() });
  }

  // Where what was not seen yet begins; without one, there is nothing such.
  unread(article) {
    this.line?.remove();
    this.line = article && make("p", { className: "unread", "aria-hidden": "true" }, make("span", { textContent: "New" }));
    if (article) article.before(this.line);
  }

  #deed(name, label, message) {
    const button = make("button", { type: "button", className: `deed ${name}`, tabIndex: -1, title: label });
    const whose = message.own ? "your message" : `the message of ${message.sender}`;
    button.dataset.label = `${label} ${name === "answer" ? `to ${whose}` : whose}`;
    button.setAttribute("aria-label", button.dataset.label);
    button.append(icon(name));
    button.addEventListener("click", () => this.acts[name](message));
    return button;
  }

  #quote(message) {
    const source = message.reply_to && this.shown.get(message.reply_to);
    const text = message.quoted_text || source?.message.content;
    if (!text) return null;
    const name = source ? this.named(source.message.sender) : "";
    const quoted = make("blockquote", { dir: "auto" });
    if (name) quoted.append(make("strong", { textContent: name }), " ");
    quoted.append(...this.#marked(snippet(text)));
    return quoted;
  }

  // A text in which the members' names stand out.
  #marked(text) {
    const names = [this.you, ...this.members].sort((a, b) => b.length - a.length);
    const parts = [];
    let rest = "";
    for (let at = 0; at < text.length; ) {
      const name = text[at] === "@" && names.find((one) => isNamed(text, at + 1, one));
      if (!name) {
        rest += text[at++];
        continue;
      }
      parts.push(rest);
      rest = "";
      const own = name === this.you;
      const shown = own && name === "participant" ? "@you" : `@${name}`;
      parts.push(make("span", { className: own ? "named me" : "named", textContent: shown }));
      at += 1 + name.length;
    }
    return [...parts, rest].filter((part) => part !== "");
  }

  // A text as the person reads it: agents call who gave no name "participant".
  plain(text) {
    return this.you === "participant" ? text.replace(/@participant(?![\p{L}\p{N}_])/giu, "@you") : text;
  }

  liked(event) {
    const one = this.shown.get(event.message_id);
    if (!one) return;
    Object.assign(one.message, { likes_count: event.likes_count, liked_by: event.liked_by });
    this.#count(one.article, one.message);
  }

  #count(article, message) {
    const button = article.querySelector(".deed.like");
    const mine = message.liked_by.includes(this.you);
    button.setAttribute("aria-pressed", String(mine));
    button.querySelector(".likes")?.remove();
    const count = message.likes_count;
    if (count) button.append(make("span", { className: "likes", textContent: String(count) }));
    button.setAttribute("aria-label", button.dataset.label + (count ? `, ${count} like${count > 1 ? "s" : ""}` : ""));
    article.classList.toggle("liked", count > 0);
  }

  reported(event) {
    const one = this.shown.get(event.message_id);
    if (!one) return;
    one.message.reported = event.reported;
    one.article.classList.toggle("reported", event.reported);
    one.article.querySelector(".deed.report")?.setAttribute("aria-pressed", String(event.reported));
    one.article.querySelector(".flag")?.remove();
    if (event.reported) one.article.append(make("p", { className: "flag", textContent: "You reported this message." }));
  }

  block(name) {
    this.blocked.add(name);
    for (const { message, article } of this.shown.values()) if (message.sender === name) article.hidden = true;
    this.#reach([...this.place.querySelectorAll("article:not([hidden])")].at(-1) ?? null);
  }

  notice(text, timestamp) {
    const at = new Date(timestamp);
    const by = make("p", { className: "by" }, make("strong", { textContent: "From the research team" }), " ");
    by.append(make("time", { dateTime: timestamp, textContent: clock(at) }));
    this.last = null;
    this.place.append(make("div", { className: "from-team" }, by, make("p", { className: "said", dir: "auto", textContent: text })));
  }

  note(text) {
    this.last = null;
    this.place.append(make("p", { className: "room-note", textContent: text }));
  }

  unsent(list) {
    this.unsentPlace.replaceChildren(
      ...list.map((one) =>
        make(
          "article",
          { className: "msg own waiting" },
          make("div", { className: "bubble" }, make("p", { className: "said", dir: "auto", textContent: one.content })),
          make("p", { className: "flag", textContent: "Sending …" }),
        ),
      ),
    );
  }

  // One message's buttons are in the order of the Tab key: the newest's, or those of the one last moved to.
  #reach(article) {
    for (const button of this.current?.querySelectorAll(".deed") ?? []) button.tabIndex = -1;
    this.current = article;
    for (const button of article?.querySelectorAll(".deed") ?? []) button.tabIndex = 0;
  }

  #move(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const from = event.target.closest?.("article");
    if (!step || !from) return;
    event.preventDefault();
    const all = [...this.place.querySelectorAll("article:not([hidden])")];
    const to = all[all.indexOf(from) + step];
    if (!to) return;
    const kind = [...event.target.classList].find((name) => name !== "deed") ?? "answer";
    this.#reach(to);
    (to.querySelector(`.deed.${kind}:enabled`) ?? to.querySelector(".deed")).focus();
    to.scrollIntoView({ block: "nearest" });
  }
}

function isNamed(text, at, name) {
  return text.slice(at, at + name.length).toLowerCase() === name.toLowerCase() && !/[\p{L}\p{N}_]/u.test(text[at + name.length] ?? "");
}

function clock(at) {
  return at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}
