// The dashboard: an EventSource. The browser reconnects by itself, and names the last event it got.
import { addLine, clock, element, pause, post, show } from "./page.js";

const page = document.querySelector("#dashboard");
const totals = document.querySelector("#totals");
const chart = document.querySelector("#chart");
const rate = document.querySelector("#rate");
const feed = document.querySelector("#feed");
const wave = document.querySelector("#wave");

const SIGNS = { message: "“", task: "✓", counter: "±", wave: "~" };
const SECONDS = 60;
let moments = []; // of what happened in the last minute, in milliseconds of the server's clock
let ahead = 0; // of our clock before the server's
let attempts = 0;

// Two senders may overtake each other: what counts everything up to the later moment is right.
function showTotals(news) {
  if (Date.parse(news.at) < Date.parse(totals.dataset.at)) return;
  totals.dataset.at = news.at;
  for (const cell of totals.querySelectorAll("[data-total]")) {
    const text = String(news[cell.dataset.total]);
    if (cell.textContent === text) continue;
    cell.textContent = text;
    cell.classList.remove("changed");
    void cell.offsetWidth; // lets the animation start again
    cell.classList.add("changed");
  }
}

function showHappening({ kind, text, totals: news }) {
  showTotals(news);
  const at = new Date(news.at);
  moments.push(at.getTime());
  const line = element("li", "", { "data-sign": SIGNS[kind] ?? "·", "data-kind": kind });
  line.append(element("span", text), clock(at));
  addLine(feed, line);
  draw();
}

function draw() {
  const now = Date.now() - ahead;
  moments = moments.filter((moment) => now - moment < SECONDS * 1_000);
  const bars = new Array(SECONDS).fill(0);
  for (const moment of moments) bars[SECONDS - 1 - Math.max(0, Math.floor((now - moment) / 1_000))] += 1;
  const most = Math.max(4, ...bars);
  chart.replaceChildren(...bars.flatMap((height, index) => (height ? [bar(index, (height / most) * 96)] : [])));
  rate.textContent = `${moments.length} ${moments.length === 1 ? "event" : "events"}`;
}

function bar(index, height) {
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const place = { x: index * 10 + 1, y: 100 - height, width: 8, height };
  for (const [key, value] of Object.entries(place)) rect.setAttribute(key, value);
  return rect;
}

function connect() {
  const source = new EventSource(page.dataset.events);
  source.addEventListener("open", () => {
    attempts = 0;
    show("open", "Connected");
  });
  source.addEventListener("totals", (event) => {
    const news = JSON.parse(event.data);
    ahead = Date.now() - Date.parse(news.at);
    showTotals(news);
  });
  source.addEventListener("happened", (event) => showHappening(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CONNECTING) {
      show("waiting", "Connection lost. Trying again soon…");
      return;
    }
    // The server answered, but not with a stream: the browser leaves it to us to try again.
    show("waiting", "The server sent no stream. Trying again soon…");
    setTimeout(connect, pause(attempts++));
  });
}

wave.addEventListener("submit", (event) => {
  event.preventDefault();
  post(wave, event.submitter).catch(() => {});
});

connect();
draw();
setInterval(draw, 1_000);
