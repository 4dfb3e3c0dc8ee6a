// A WebSocket that is opened again when it is lost: after a second, then after twice as long each time, up to half a minute.

const LONGEST = 30_000;

export class Socket {
  #path;
  #onMessage;
  #onOpen;
  #socket = null;
  #timer = 0;
  #wait = 1000;

  constructor(path, onMessage, onOpen = () => {}) {
    this.#path = path;
    this.#onMessage = onMessage;
    this.#onOpen = onOpen;
  }

  open() {
    if (this.#socket || this.#timer) return;
    const url = new URL(this.#path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#wait = 1000;
      this.#onOpen(true);
    };
    socket.onmessage = (event) => this.#onMessage(event.data);
    socket.onclose = () => {
      this.#socket = null;
      this.#onOpen(false);
      this.#timer = setTimeout(() => {
        this.#timer = 0;
        this.open();
      }, this.#wait);
      this.#wait = Math.min(2 * this.#wait, LONGEST);
    };
  }

  close() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }
}
