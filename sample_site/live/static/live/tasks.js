// Tasks: requests and answers over one socket, and what others changed in between.
import { addLine, element, pause, show } from "./page.js";

const page = document.querySelector("#tasks");
const form = document.querySelector("#add");
const problem = document.querySelector("#problem");
const list = document.querySelector("#list");
const left = document.querySelector("#left");
const wire = document.querySelector("#wire");
const path = page.dataset.list;

let socket = null;
let attempts = 0;
let lastId = 0;
const waiting = new Map(); // id of a request → what takes its answer
const gone = new Set(); // ids of tasks that were deleted: an older list may still name them

function log(direction, text) {
  addLine(wire, element("li", `${direction} ${text.slice(0, 500)}`));
}

// Resolves with {status, body}; rejects when the connection ends before the answer.
function ask(method, url, data) {
  if (socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Error("Not connected yet."));
  lastId += 1;
  const id = lastId;
  const message = JSON.stringify({ id, method, url, data });
  log("→", message);
  socket.send(message);
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

async function change(method, url, data) {
  problem.textContent = "";
  try {
    const { status, body } = await ask(method, url, data);
    if (status < 400) return true;
    problem.textContent = body?.error ?? `The server answered ${status}.`;
  } catch (error) {
    problem.textContent = `${error.message} Try again in a moment.`;
  }
  return false;
}

function hear(text) {
  const { id, event, status, headers, body } = JSON.parse(text);
  log("←", headers ? JSON.stringify({ id, status, headers: "…", body }) : text);
  if (event) {
    if (event.change === "deleted") forget(event.task);
    else showTask(event.task);
  } else {
    waiting.get(id)?.resolve({ status, body });
    waiting.delete(id);
  }
}

function lineOf(task) {
  return list.querySelector(`[data-id="${Number(task.id)}"]`);
}

function forget(task) {
  gone.add(task.id);
  const line = lineOf(task);
  const held = line?.contains(document.activeElement);
  line?.remove();
  if (held) form.elements.title.focus();
  count();
}

// A change may come twice, by an answer and by an event, or overtake another: the higher version is the newer one.
function showTask(task) {
  if (gone.has(task.id)) return;
  const line = lineOf(task) ?? newLine(task);
  if (Number(line.dataset.version) > task.version) return;
  line.dataset.version = task.version;
  line.querySelector("input").checked = task.done;
  line.querySelector("span").textContent = task.title;
  line.querySelector("button").setAttribute("aria-label", `Delete ${task.title}`);
  count();
}

function newLine(task) {
  const line = element("li", "", { "data-id": task.id, "data-version": 0 });
  const label = element("label");
  const box = element("input", "", { type: "checkbox" });
  const button = element("button", "×", { type: "button" });
  label.append(box, element("span"));
  line.append(label, button);
  const url = `${path}${task.id}/`;
  box.addEventListener("change", async () => {
    const wanted = box.checked;
    if (!(await change("PATCH", url, { done: wanted }))) box.checked = !wanted;
  });
  button.addEventListener("click", () => change("DELETE", url));
  list.append(line);
  return line;
}

function count() {
  const open = list.querySelectorAll("input:not(:checked)").length;
  left.textContent = list.children.length ? `${open} of ${list.children.length}` : "";
}

// Asking for the list also asks for what changes from now on.
async function begin() {
  const { status, body } = await ask("GET", path);
  if (status !== 200) throw new Error(`The server answered ${status}.`);
  const ids = new Set(body.tasks.map((task) => task.id));
  for (const line of [...list.children]) if (!ids.has(Number(line.dataset.id))) line.remove();
  body.tasks.forEach(showTask);
  count();
  attempts = 0;
  show("open", "Connected");
}

function connect() {
  show("connecting", "Connecting…");
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}${page.dataset.socketPath}`);
  socket.addEventListener("open", () => begin().catch(() => socket.close()));
  socket.addEventListener("message", (event) => hear(event.data));
  socket.addEventListener("close", () => {
    waiting.forEach(({ reject }) => reject(new Error("The connection was lost.")));
    waiting.clear();
    show("waiting", "Connection lost. Trying again soon…");
    setTimeout(connect, pause(attempts++));
  });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { title } = form.elements;
  const added = title.value;
  if (await change("POST", path, { title: added })) {
    if (title.value === added) title.value = "";
    title.focus();
  }
});

connect();
