// What the live pages have in common.
const status = document.querySelector("#status");
const title = document.title;

// `state` is "open" while news can arrive; the page says so, and tests wait for it.
export function show(state, text) {
  document.documentElement.dataset.live = state;
  document.title = state === "open" ? title : `(${state}) ${title}`;
  if (status.textContent !== text) status.textContent = text;
  status.dataset.state = state;
}

export function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const LONGEST_WAIT = 30_000; // milliseconds between two attempts at most

// Milliseconds to wait before attempt number `attempts`; full jitter: after a restart not all come back at once.
export function pause(attempts) {
  return 200 + Math.random() * Math.min(LONGEST_WAIT, 1_000 * 2 ** attempts);
}

export function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

export function clock(date) {
  const time = element("time", date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" }));
  time.dateTime = date.toISOString();
  return time;
}

// Puts a line at the top of a list that keeps its newest `limit` lines.
export function addLine(list, line, limit = 50) {
  list.prepend(line);
  while (list.children.length > limit) list.lastElementChild.remove();
}

// Submits a form's fields as fetch() does it, with the button that was pressed.
export function post(form, submitter) {
  const body = new FormData(form, submitter);
  return fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
}
