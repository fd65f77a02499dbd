// Where a message is written: its draft (kept for this tab alone), its length, whom it names and answers.
import { make, snippet } from "./chat-log.js";

const ROWS_MOST = 7;
const SHOW_COUNT = 200;

export class Composer {
  constructor(form, room, most, { send, announce }) {
    Object.assign(this, { form, most, send, announce, key: `draft:${room}`, members: [], answered: null, paused: "" });
    this.text = form.querySelector("[data-text]");
    this.list = form.querySelector("[data-names]");
    this.problem = form.querySelector("[data-problem]");
    this.chosen = -1;
    this.text.value = sessionStorage.getItem(this.key) ?? "";
    this.text.addEventListener("input", () => this.#changed());
    this.text.addEventListener("keydown", (event) => this.#pressed(event));
    this.text.addEventListener("blur", () => setTimeout(() => this.#offer([]), 150));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    form.querySelector("[data-answer-drop]").addEventListener("click", () => this.answer(null));
    this.#changed();
  }

  answer(message, name = "", text = "") {
    this.answered = message;
    this.form.querySelector("[data-answering]").hidden = !message;
    if (message) {
      this.form.querySelector("[data-answer-name]").textContent = name;
      this.form.querySelector("[data-answer-text]").textContent = snippet(text);
    }
    this.text.focus();
  }

  // Why nothing can be sent now; an empty text: it can.
  hold(why) {
    this.paused = why;
    this.problem.textContent = why;
    this.form.querySelector("[data-send]").disabled = Boolean(why);
  }

  close() {
    this.form.hidden = true;
    this.#keep("");
  }

  // What was refused comes back to be mended, if nothing else is being written.
  giveBack(text, why) {
    if (!this.text.value.trim()) this.text.value = text;
    this.#changed();
    this.problem.textContent = `Not sent: ${why}.`;
    this.announce(`Your message was not sent: ${why}.`);
  }

  #send() {
    const content = this.text.value.trim();
    if (!content || this.paused) return;
    if (this.length() > this.most) {
      this.problem.textContent = `Too long: ${this.length() - this.most} characters over.`;
      this.announce(this.problem.textContent);
      return;
    }
    const { answered } = this;
    const about = answered ? { reply_to: answered.message_id, quoted_text: snippet(answered.content) } : {};
    this.text.value = "";
    this.answer(null);
    this.#changed();
    this.send({ content, ...about });
  }

  length() {
    return [...this.text.value.trim()].length;
  }

  #changed() {
    const left = this.most - this.length();
    const counter = this.form.querySelector("[data-count]");
    if (left < SHOW_COUNT) counter.textContent = left < 0 ? `${-left} too many` : `${left} left`;
    else if (!counter.firstElementChild)
      counter.replaceChildren(make("span", { className: "unseen", textContent: `At most ${this.most} characters.` }));
    counter.classList.toggle("bad-text", left < 0);
    this.text.setAttribute("aria-invalid", String(left < 0));
    if (!this.paused) this.problem.textContent = "";
    this.#keep(this.text.value);
    this.text.rows = 1;
    while (this.text.scrollHeight > this.text.clientHeight && this.text.rows < ROWS_MOST) this.text.rows += 1;
    this.#suggest();
  }

  #keep(text) {
    try {
      if (text) sessionStorage.setItem(this.key, text);
      else sessionStorage.removeItem(this.key);
    } catch {
      /* no draft then */
    }
  }

  #pressed(event) {
    if (event.isComposing) return;
    if (!this.list.hidden && this.#choosing(event)) {
      event.preventDefault();
      return;
    }
    if (event.key === "Escape" && this.answered) this.answer(null);
    const touch = matchMedia("(pointer: coarse)").matches;
    if (event.key !== "Enter" || event.shiftKey || touch) return;
    event.preventDefault();
    this.#send();
  }

  // Names that begin with what stands behind the @ at the caret.
  #suggest() {
    const before = this.text.value.slice(0, this.text.selectionStart);
    const typed = /(?:^|\s)@([^\s@][^@\n]{0,39}|)$/.exec(before);
    const found = typed ? this.members.filter((name) => name.toLowerCase().startsWith(typed[1].toLowerCase())) : [];
    this.typed = typed?.[1] ?? "";
    this.#offer(found.filter((name) => name.toLowerCase() !== this.typed.toLowerCase() || found.length > 1).slice(0, 8));
  }

  #offer(names) {
    const same = names.join("\n") === this.offered;
    this.offered = names.join("\n");
    if (same) return;
    this.list.replaceChildren(
      ...names.map((name, place) => {
        const option = make("li", { role: "option", id: `name-${place}`, dir: "auto", textContent: name });
        option.addEventListener("pointerdown", (event) => {
          event.preventDefault();
          this.#take(name);
        });
        return option;
      }),
    );
    this.list.hidden = names.length === 0;
    this.#choose(names.length ? 0 : -1);
    if (names.length) this.announce(`${names.length} name${names.length > 1 ? "s" : ""}: up and down to choose, Enter to take.`);
  }

  #choose(place) {
    this.chosen = place;
    for (const [at, option] of [...this.list.children].entries()) option.setAttribute("aria-selected", String(at === place));
    if (place < 0) this.text.removeAttribute("aria-activedescendant");
    else this.text.setAttribute("aria-activedescendant", `name-${place}`);
  }

  #choosing(event) {
    const count = this.list.children.length;
    switch (event.key) {
      case "ArrowDown":
        this.#choose((this.chosen + 1) % count);
        return true;
      case "ArrowUp":
        this.#choose((this.chosen + count - 1) % count);
        return true;
      case "Enter":
      case "Tab":
        this.#take(this.list.children[this.chosen].textContent);
        return true;
      case "Escape":
        this.#offer([]);
        return true;
    }
    return false;
  }

  #take(name) {
    const at = this.text.selectionStart;
    const from = at - this.typed.length;
    this.text.setRangeText(`${name} `, from, at, "end");
    this.#changed();
    this.#offer([]);
  }
}
