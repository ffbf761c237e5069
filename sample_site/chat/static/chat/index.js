const form = document.querySelector("#choose");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const room = form.elements.room.value;
  location.assign(form.dataset.url.replace("ROOM", encodeURIComponent(room)));
});
