// The connection to a room. It connects again by itself, goes on where it was, and sends nothing twice:
// each message has an id, one is under way at a time, and those that were not confirmed are sent again.
const FIRST_MS = 400;
const LONGEST_MS = 8000;
const CONFIRM_MS = 6000;
const AGAIN_MS = 2000;
const ELSEWHERE = "you are connected elsewhere";
const PASSING = /^(too many messages|not stored)/;

export class Link {
  // `changed(state)`: connecting, online, lost, elsewhere, over or refused. `told(event, live)`. `unsent(list)`.
  constructor(room, { changed, told, unsent, refused }) {
    Object.assign(this, { room, changed, told, unsent, refused });
    this.position = 0;
    this.head = 0;
    this.pause = FIRST_MS;
    this.state = "";
    this.socket = null;
    this.underWay = null;
    this.box = this.#kept();
    addEventListener("online", () => this.state === "lost" && this.connect());
    addEventListener("offline", () => this.socket?.close());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.state === "lost") this.connect();
    });
  }

  connect() {
    clearTimeout(this.again);
    this.#drop();
    this.#is(this.position || this.state ? "lost" : "connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws/${this.room}?extras=1&since=${this.position}`);
    this.socket = socket;
    socket.addEventListener("message", (event) => socket === this.socket && this.#heard(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => socket === this.socket && this.#closed(event));
  }

  // Write a message: it is shown as unsent until the room has told it.
  say(message) {
    this.box.push({ ...message, client_id: newId() });
    this.#keep();
    this.#flush();
  }

  stop() {
    clearTimeout(this.again);
    this.#drop();
    this.#is("over");
  }

  #drop() {
    const old = this.socket;
    this.socket = null;
    this.underWay = null;
    clearTimeout(this.waiting);
    old?.close();
  }

  #is(state) {
    if (this.state === state) return;
    this.state = state;
    this.changed(state);
  }

  #closed({ code, reason }) {
    this.socket = null;
    this.underWay = null;
    clearTimeout(this.waiting);
    if (this.state === "over") return;
    if (code === 1000) return this.#is("over");
    if (code === 1008 && reason === ELSEWHERE) return this.#is("elsewhere");
    if (code === 1008 && !reason.startsWith("too many")) return this.#is("refused");
    this.#is("lost");
    this.again = setTimeout(() => this.connect(), this.pause * (0.75 + Math.random() / 2));
    this.pause = Math.min(LONGEST_MS, this.pause * 1.7);
  }

  #heard(event) {
    if (event.event_type === "hello") {
      this.head = event.position;
      this.pause = FIRST_MS;
      this.told(event, false);
      this.#is("online");
      this.#flush();
      return;
    }
    if (event.event_type === "error") return this.#trouble(event);
    if (event.position) {
      if (event.position <= this.position) return;
      this.position = event.position;
    }
    this.told(event, this.position > this.head);
    if (event.client_id) this.#settle(event.client_id);
    if (event.event_type === "ended") this.#is("over");
  }

  #settle(id) {
    this.box = this.box.filter((one) => one.client_id !== id);
    if (this.underWay?.client_id === id) {
      clearTimeout(this.waiting);
      this.underWay = null;
    }
    this.#keep();
    this.#flush();
  }

  #trouble({ detail, client_id: id }) {
    const one = this.underWay;
    if (!one || (id && id !== one.client_id)) return;
    clearTimeout(this.waiting);
    if (PASSING.test(detail)) {
      this.waiting = setTimeout(() => {
        this.underWay = null;
        this.#flush();
      }, AGAIN_MS);
      return;
    }
    this.refused(one, detail);
    this.#settle(one.client_id);
  }

  #flush() {
    if (this.underWay || this.state !== "online" || this.box.length === 0) return;
    this.underWay = this.box[0];
    clearTimeout(this.waiting);
    this.socket.send(fitting({ type: "user_message", ...this.underWay }));
    this.waiting = setTimeout(() => this.connect(), CONFIRM_MS); // no word of it: the connection is dead
  }

  #kept() {
    try {
      return JSON.parse(sessionStorage.getItem(`unsent:${this.room}`)) ?? [];
    } catch {
      return [];
    }
  }

  #keep() {
    try {
      if (this.box.length) sessionStorage.setItem(`unsent:${this.room}`, JSON.stringify(this.box));
      else sessionStorage.removeItem(`unsent:${this.room}`);
    } catch {
      /* it holds for this page then */
    }
    this.unsent(this.box);
  }
}

// A frame of at most 8 KB: without the quotation, if it is too long with it.
function fitting(message) {
  const whole = JSON.stringify(message);
  return new TextEncoder().encode(whole).length <= 8000 ? whole : JSON.stringify({ ...message, quoted_text: undefined });
}

function newId() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
