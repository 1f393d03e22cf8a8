// Selections on their way to the kernel. Each has a number; the kernel takes each once, in order, and says how far it
// is, and what got lost is sent again. A trait would not do: of its values only the last one outlives a busy kernel.

/** @import { Send } from "./types.d.ts" */

/** @typedef {{ number: number, cluster: number | null, rows: Uint32Array<ArrayBuffer> }} Entry */

/** Milliseconds until the kernel is asked how far it is; a busy one that answers late loses nothing by it. */
export const HEARING = 4000;

export class SelectionQueue {
  /** Names this queue: the kernel hears several, one a view. */
  view = crypto.randomUUID?.() ?? String(Math.random());
  #number = 0;
  #asked = 0;
  /** @type {Entry[]} */
  #waiting = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {Send} send
   * @param {(count: number) => void} changed called with the number of selections that are on their way.
   */
  constructor(send, changed) {
    this.send = send;
    this.changed = changed;
  }

  destroy() {
    clearTimeout(this.#timer);
  }

  /**
   * Send a selection: rows, or the number of a cluster.
   * @param {Uint32Array<ArrayBuffer>} rows
   * @param {number | null} cluster
   */
  add(rows, cluster = null) {
    const entry = { number: ++this.#number, cluster, rows };
    this.#waiting.push(entry);
    this.#send(entry);
    this.changed(this.#waiting.length);
    this.#listen();
  }

  /**
   * Whether what the kernel shows is older than what was selected here.
   * @param {string} view that made the selection that the kernel shows.
   * @param {number} number of that selection.
   */
  overtakes(view, number) {
    return view === this.view ? number < this.#number : this.#waiting.length > 0;
  }

  /**
   * The kernel's word on how far it is.
   * @param {{ kind: string, view: string, number: number, asked: boolean }} message
   */
  take(message) {
    if (message.kind !== "heard" || message.view !== this.view) return;
    this.#waiting = this.#waiting.filter((entry) => entry.number > message.number);
    this.changed(this.#waiting.length);
    // What was sent before it was asked, and it has not got, is lost.
    const lost = message.asked ? this.#waiting.filter((entry) => entry.number <= this.#asked) : [];
    for (const entry of lost) this.#send(entry);
    this.#listen();
  }

  /** @param {Entry} entry */
  #send({ number, cluster, rows }) {
    this.send({ do: "select", view: this.view, number, cluster }, [rows.slice().buffer]);
  }

  #listen() {
    clearTimeout(this.#timer);
    if (!this.#waiting.length) return;
    this.#timer = setTimeout(() => {
      this.#asked = this.#number;
      this.send({ do: "heard", view: this.view });
      this.#listen();
    }, HEARING);
  }
}
