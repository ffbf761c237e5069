// The counter: one request at a time, which the proxy holds until the number changes.
import { addLine, element, pause, post, show, sleep } from "./page.js";

const page = document.querySelector("#counter");
const value = document.querySelector("#value");
const form = document.querySelector("#step");
const polls = document.querySelector("#polls");

// Two changes may overtake each other: the one with more steps behind it is newer.
function showValue(counter) {
  if (counter.steps <= Number(value.dataset.steps)) return;
  value.dataset.steps = counter.steps;
  value.textContent = counter.value;
}

// Resolves with the id to ask on with.
async function poll(since) {
  const asked = since === null ? "What is it now?" : "And then?";
  const line = element("li", `${asked} …`, { "data-state": "waiting" });
  addLine(polls, line);
  const started = performance.now();
  try {
    const url = since === null ? page.dataset.changes : `${page.dataset.changes}?since=${encodeURIComponent(since)}`;
    const answer = await fetch(url, { cache: "no-store" });
    if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
    const { id, events } = await answer.json();
    events.forEach((event) => showValue(event.data));
    const waited = ((performance.now() - started) / 1_000).toFixed(1);
    const news = events.map((event) => event.data.value).join(", ") || "no change";
    line.textContent = `${asked} ${news} (after ${waited} s)`;
    line.dataset.state = "answered";
    return id;
  } catch (error) {
    line.remove();
    throw error;
  }
}

async function follow() {
  let since = null;
  let attempts = 0;
  for (;;) {
    try {
      since = await poll(since);
      attempts = 0;
      show("open", "Connected");
    } catch (error) {
      // fetch() has no better word for a connection that failed than TypeError.
      const problem = error instanceof TypeError ? "Connection lost." : error.message;
      show("waiting", `${problem} Trying again soon…`);
      await sleep(pause(attempts++));
    }
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  // Our own step comes back by the poll, as everybody's does.
  await post(form, event.submitter).catch(() => show("waiting", "That did not arrive. Try again in a moment."));
});

follow();
