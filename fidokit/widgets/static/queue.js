// Selections on their way to the kernel. Each has a number; the kernel takes each once, in order, and says how far it
// is, and what got lost is sent again. A trait would not do: of its values only the last one outlives a busy kernel.

/** Milliseconds until the kernel is asked how far it is; a busy one that answers late loses nothing by it. */
const HEARING = 4000;

class SelectionQueue {
  /**
   * @param send a message to the kernel, with buffers.
   * @param changed called with the number of selections that are on their way.
   */
  constructor(send, changed) {
    Object.assign(this, { send, changed });
    this.view = crypto.randomUUID?.() ?? String(Math.random());
    this.number = 0;
    this.asked = 0;
    this.waiting = [];
  }

  destroy() {
    clearTimeout(this.timer);
  }

  /** Send a selection: the rows of a Uint32Array, or the number of a cluster. */
  add(rows, cluster = null) {
    const entry = { number: ++this.number, cluster, rows };
    this.waiting.push(entry);
    this.#send(entry);
    this.changed(this.waiting.length);
    this.#listen();
  }

  /** Whether what the kernel shows is older than what was selected here. */
  overtakes(view, number) {
    return view === this.view ? number < this.number : this.waiting.length > 0;
  }

  /** The kernel's word on how far it is. */
  take(message) {
    if (message.kind !== "heard" || message.view !== this.view) return;
    this.waiting = this.waiting.filter((entry) => entry.number > message.number);
    this.changed(this.waiting.length);
    // What was sent before it was asked, and it has not got, is lost.
    if (message.asked) for (const entry of this.waiting) if (entry.number <= this.asked) this.#send(entry);
    this.#listen();
  }

  #send({ number, cluster, rows }) {
    this.send({ do: "select", view: this.view, number, cluster }, [rows.slice().buffer]);
  }

  #listen() {
    clearTimeout(this.timer);
    if (!this.waiting.length) return;
    this.timer = setTimeout(() => {
      this.asked = this.number;
      this.send({ do: "heard", view: this.view });
      this.#listen();
    }, HEARING);
  }
}
