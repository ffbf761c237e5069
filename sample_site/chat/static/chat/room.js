// One room: shows its messages, sends new ones, and finds its way back when the connection drops.
const room = document.querySelector("#room");
const log = document.querySelector("#log");
const form = document.querySelector("#say");
const status = document.querySelector("#status");
const title = document.title;

const LONGEST_WAIT = 30_000; // milliseconds between two attempts at most
let socket = null;
let attempts = 0;

function show(state, text) {
  document.documentElement.dataset.socket = state;
  document.title = state === "open" ? title : `(${state}) ${title}`;
  status.dataset.state = state;
  status.textContent = text;
}

function lastId() {
  return Math.max(0, ...Array.from(log.children, (line) => Number(line.dataset.id)));
}

function known(id) {
  return log.querySelector(`[data-id="${Number(id)}"]`) !== null;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function addLine({ id, author, message, created }) {
  if (known(id)) return;
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const line = document.createElement("li");
  line.dataset.id = id;
  const time = element("time", new Date(created).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = created;
  line.append(element("b", author || "Somebody"), " ", element("span", message), " ", time);
  log.append(line);
  if (atEnd) log.scrollTop = log.scrollHeight;
}

// Messages that were said between the rendering of this page, or the loss of the last socket, and now.
async function catchUp() {
  const answer = await fetch(`${room.dataset.messagesPath}?after=${lastId()}`);
  if (answer.ok) (await answer.json()).messages.forEach(addLine);
}

// Full jitter: when a proxy restarts, its clients must not come back all at once.
function reconnect() {
  const longest = Math.min(LONGEST_WAIT, 1_000 * 2 ** attempts);
  attempts += 1;
  const wait = 200 + Math.random() * longest;
  show("waiting", "Connection lost. Trying again soon…");
  setTimeout(connect, wait);
}

function connect() {
  show("connecting", "Connecting…");
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}${room.dataset.socketPath}`);
  socket.addEventListener("open", () => {
    attempts = 0;
    const opened = Number(document.documentElement.dataset.opened || 0) + 1;
    document.documentElement.dataset.opened = opened;
    show("open", "Connected");
    catchUp().catch(() => {});
  });
  socket.addEventListener("message", (event) => addLine(JSON.parse(event.data)));
  socket.addEventListener("close", reconnect);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { author, message } = form.elements;
  if (socket.readyState !== WebSocket.OPEN) {
    status.textContent = "Not connected yet: your message is kept, send it again in a moment.";
    return;
  }
  socket.send(JSON.stringify({ author: author.value, message: message.value }));
  sessionStorage.setItem("author", author.value);
  message.value = "";
  message.focus();
});

form.elements.author.value = sessionStorage.getItem("author") || "";
log.scrollTop = log.scrollHeight;
connect();
