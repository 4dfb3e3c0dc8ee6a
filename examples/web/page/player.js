// Plays one camera's stream, and tells with each picture that is shown who is in it.
//
// A message is the length of a JSON text (4 bytes, little-endian), the text, and a piece of a WebM stream: first its opening, then
// one frame each, with its time in that stream and its people. An opening comes again where frames were left out or a camera
// has come back. Pictures are put one behind the other on a time line of our own that has no gaps; people are kept by their
// picture's time on it until the browser says that this very picture is shown.

import { Socket } from "./socket.js";

/** Seconds that the picture is behind the newest frame. When it is more, it is played faster, when it is less, slower, so that a stream
 * that comes slowly does not stop and go; when it is much more, the rest is left out. */
const BEHIND = 0.25;
const TOO_FAR_BEHIND = 1.5;
const SLOWEST = 0.25;
const FASTEST = 1.2;
/** Milliseconds at which our time line begins: at 0 the first frame may come out a little before it, and is not taken. */
const START = 1000;
/** Seconds of what has been shown that are kept, and after how many they are removed. */
const KEPT = 5;
const REMOVED = 20;
/** Frames that wait for the browser, or for being shown, at most: more is waste. */
const MOST = 1000;
/** Milliseconds by which the browser's time of a picture may differ from ours. */
const ROUNDING = 5;

const Source = window.ManagedMediaSource ?? window.MediaSource;
const text = new TextDecoder();

export const isSupported =
  Source !== undefined && "requestVideoFrameCallback" in HTMLVideoElement.prototype;

export class Player {
  #video;
  #onShown;
  #onError;
  #socket;
  #isOn = false;
  #source = null;
  #buffer = null;
  #queue = [];
  /** Milliseconds from the stream's time to ours; null before the first frame behind an opening. */
  #shift = null;
  /** Where the next frame goes, and how long the last one is taken to last. */
  #end = START;
  #length = 40;
  #last = 0;
  /** Of frames that have come: their time, and who is in them. */
  #found = [];

  constructor(video, path, onShown, onError) {
    this.#video = video;
    this.#onShown = onShown;
    this.#onError = onError;
    this.#socket = new Socket(path, (message) => this.#take(message));
    video.addEventListener("error", () => this.#restart());
    const shown = (_now, { mediaTime }) => {
      this.#show(1000 * mediaTime);
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
  }

  start() {
    this.#isOn = true;
    this.#socket.open();
  }

  /** The last picture stays. What comes after a new start is of then. */
  stop() {
    this.#isOn = false;
    this.#socket.close();
    this.#video.pause();
  }

  #take(message) {
    const length = new DataView(message).getUint32(0, true);
    const head = JSON.parse(text.decode(new Uint8Array(message, 4, length)));
    const piece = new Uint8Array(message, 4 + length);
    if (head.type) {
      this.#begin(head.type, piece);
    } else {
      this.#add(head, piece);
    }
    this.#feed();
  }

  #begin(type, piece) {
    if (!Source.isTypeSupported(type)) {
      this.#socket.close();
      this.#onError(`This browser does not play ${type}.`);
      return;
    }
    if (!this.#source) {
      const source = new Source();
      this.#source = source;
      source.addEventListener("sourceopen", () => {
        URL.revokeObjectURL(this.#video.src);
        source.duration = Infinity;
        this.#buffer = source.addSourceBuffer(type);
        this.#buffer.addEventListener("updateend", () => this.#feed());
        this.#feed();
      }, { once: true });
      this.#video.disableRemotePlayback = true;
      this.#video.src = URL.createObjectURL(source);
    }
    this.#shift = null;
    this.#queue.push({ piece, isOpening: true });
  }

  #add({ time, ...found }, piece) {
    const isFirst = this.#shift === null;
    if (isFirst) {
      this.#shift = this.#end - time;
    } else if (time > this.#last) {
      this.#length = Math.min(time - this.#last, 1000);
    }
    this.#last = time;
    const at = time + this.#shift;
    this.#end = at + this.#length;
    this.#found.push({ at, found });
    this.#queue.push({ piece, shift: isFirst ? this.#shift : undefined });
    if (this.#found.length > MOST) this.#found.shift();
    if (this.#queue.length > MOST) this.#restart();
  }

  /** Hands on to the browser what it can take now. */
  #feed() {
    const buffer = this.#buffer;
    if (!buffer || buffer.updating || this.#source.readyState !== "open") return;
    try {
      this.#catchUp();
      const video = this.#video;
      if (buffer.buffered.length && buffer.buffered.start(0) < video.currentTime - REMOVED) {
        buffer.remove(0, video.currentTime - KEPT);
        return;
      }
      const next = this.#queue.shift();
      if (!next) return;
      // The piece before may end in the middle of a cluster.
      if (next.isOpening) buffer.abort();
      if (next.shift !== undefined) buffer.timestampOffset = next.shift / 1000;
      buffer.appendBuffer(next.piece);
    } catch {
      // The browser keeps no more, or has given up.
      this.#restart();
    }
  }

  #catchUp() {
    const video = this.#video;
    const { buffered } = this.#buffer;
    if (!buffered.length) return;
    const newest = buffered.end(buffered.length - 1);
    const behind = newest - video.currentTime;
    if (video.currentTime < buffered.start(0)) {
      video.currentTime = buffered.start(0);
    } else if (behind > TOO_FAR_BEHIND) {
      video.currentTime = newest - BEHIND;
    } else {
      const rate = Math.round((20 * behind) / BEHIND) / 20;
      video.playbackRate = Math.max(SLOWEST, Math.min(rate, FASTEST));
    }
    if (video.paused && this.#isOn) {
      // Refused while nothing is to be seen of it, for one.
      video.play().catch(() => {});
    }
  }

  #show(time) {
    const found = this.#found;
    const behind = found.findIndex(({ at }) => at >= time - ROUNDING);
    found.splice(0, behind < 0 ? found.length : behind);
    const is = found.length && found[0].at <= time + ROUNDING;
    this.#onShown(is ? found[0].found : {});
  }

  /** Begins with a new time line, but not again and again without a rest. */
  #restart() {
    if (!this.#source) return;
    this.#socket.close();
    this.#source = this.#buffer = this.#shift = null;
    this.#queue = [];
    this.#found = [];
    this.#end = START;
    setTimeout(() => this.#isOn && this.#socket.open(), 1000);
  }
}
