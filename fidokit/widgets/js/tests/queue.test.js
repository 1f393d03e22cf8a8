import assert from "node:assert/strict";
import { beforeEach, describe, mock, test } from "node:test";
import { HEARING, SelectionQueue } from "../src/queue.js";

describe("selections on their way", () => {
  let queue;
  let sent;
  let counts;

  beforeEach(() => {
    mock.timers.reset();
    mock.timers.enable({ apis: ["setTimeout"] });
    [sent, counts] = [[], []];
    queue = new SelectionQueue(
      (message, buffers) => sent.push({ ...message, rows: buffers && [...new Uint32Array(buffers[0])] }),
      (count) => counts.push(count),
    );
  });

  const heard = (number, asked = false, view = queue.view) => queue.take({ kind: "heard", view, number, asked });
  const numbers = () => sent.filter((message) => message.do === "select").map((message) => message.number);

  test("are sent at once, numbered, with their rows", () => {
    queue.add(Uint32Array.of(4, 2));
    queue.add(new Uint32Array(0), 3);
    assert.deepEqual(sent, [
      { do: "select", view: queue.view, number: 1, cluster: null, rows: [4, 2] },
      { do: "select", view: queue.view, number: 2, cluster: 3, rows: [] },
    ]);
    assert.deepEqual(counts, [1, 2]);
  });

  test("do not wait any more once the kernel has got them", () => {
    queue.add(Uint32Array.of(1));
    queue.add(Uint32Array.of(2));
    heard(1);
    assert.equal(counts.at(-1), 1);
    heard(2);
    assert.equal(counts.at(-1), 0);
    mock.timers.tick(10 * HEARING);
    assert.deepEqual(numbers(), [1, 2]);
  });

  test("are asked about while the kernel is silent, and what got lost is sent again", () => {
    for (const row of [1, 2, 3]) queue.add(Uint32Array.of(row));
    mock.timers.tick(HEARING);
    assert.deepEqual(sent.at(-1), { do: "heard", view: queue.view, rows: undefined });
    queue.add(Uint32Array.of(4));
    heard(1, true);
    // The fourth was sent after the question, and may be on its way.
    assert.deepEqual(numbers(), [1, 2, 3, 4, 2, 3]);
  });

  test("are not sent again for an answer that was not asked for", () => {
    queue.add(Uint32Array.of(1));
    queue.add(Uint32Array.of(2));
    mock.timers.tick(HEARING);
    heard(1);
    assert.deepEqual(numbers(), [1, 2]);
  });

  test("are their own view's", () => {
    queue.add(Uint32Array.of(1));
    heard(1, false, "another");
    assert.deepEqual(counts, [1]);
    assert.notEqual(
      new SelectionQueue(
        () => undefined,
        () => undefined,
      ).view,
      queue.view,
    );
  });

  test("overtake what the kernel shows while they wait", () => {
    assert.equal(queue.overtakes("another", 7), false);
    queue.add(Uint32Array.of(1));
    assert.equal(queue.overtakes("another", 7), true);
    assert.equal(queue.overtakes(queue.view, 0), true);
    assert.equal(queue.overtakes(queue.view, 1), false);
  });

  test("are not asked about any more once the view is gone", () => {
    queue.add(Uint32Array.of(1));
    queue.destroy();
    mock.timers.tick(10 * HEARING);
    assert.equal(sent.length, 1);
  });
});
