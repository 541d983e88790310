// The gallery of `llmagic.ImageUpload`. The kernel holds the images and their order; this file
// shows them, sends files in parts, and asks for thumbnails it does not have.

const PART = 4 * 1024 * 1024; // The server takes messages of 10 MiB at most.

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

async function upload(model, id, file) {
  let start = 0;
  do {
    const stop = Math.min(start + PART, file.size);
    const part = await file.slice(start, stop).arrayBuffer();
    const about = { kind: "part", upload: id, name: file.name, size: file.size, first: !start };
    model.send(about, undefined, [new DataView(part)]);
    start = stop;
  } while (start < file.size);
}

function render({ model, el }) {
  const thumbnails = new Map(); // id of an image -> URL of its thumbnail
  const list = element("ol", { className: "llmagic-upload-list" });
  const said = element("div", { className: "llmagic-upload-message", role: "status" });
  const input = element("input", { type: "file", accept: "image/*", multiple: true, hidden: true });
  const choose = element("button", { type: "button", className: "llmagic-upload-choose" });
  choose.textContent = "Choose images";
  const hint = element("span", { className: "llmagic-upload-hint" }, "or drop them here");
  const root = element("div", { className: "llmagic-upload" }, choose, hint, input, said, list);
  let dragged = null;
  let again = null; // asks for thumbnails that did not come
  let unsent = ""; // what is said about files that were not sent
  const sent = new Map(); // id of an upload the kernel has not taken yet -> name of the file

  const take = async (files) => {
    const largest = model.get("largest");
    const large = files.filter((file) => file.size > largest);
    unsent = large
      .map((file) => `${file.name} has ${megabytes(file.size)}, and at most ` +
        `${megabytes(largest)} are sent. Use up.add("path") instead.`)
      .join(" ");
    model.send({ kind: "begin" });
    const named = files
      .filter((file) => file.size <= largest)
      .map((file) => [`${Date.now()}-${Math.random()}`, file]);
    for (const [id, file] of named) sent.set(id, file.name);
    say();
    for (const [id, file] of named) {
      try {
        await upload(model, id, file);
      } catch (error) {
        // A folder that was dropped looks like a file. The others are sent.
        sent.delete(id);
        unsent = `${unsent} ${file.name} was not sent: ${error.message}`.trim();
        say();
      }
    }
  };

  const button = (label, text, act, disabled = false) => {
    const made = element("button", { type: "button", title: label, disabled });
    made.setAttribute("aria-label", label);
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  };

  const figure = (item, index, count) => {
    const move = (to) => model.send({ kind: "move", id: item.id, to });
    const image = element("img", { alt: item.name, draggable: false });
    if (thumbnails.has(item.id)) image.src = thumbnails.get(item.id);
    const made = element(
      "li",
      { className: "llmagic-upload-item", draggable: true },
      image,
      element("div", { className: "llmagic-upload-name", title: item.name }, item.name),
      element("div", { className: "llmagic-upload-caption" }, item.caption),
      button(`Move ${item.name} left`, "◀", () => move(index - 1), index === 0),
      button(`Move ${item.name} right`, "▶", () => move(index + 1), index === count - 1),
      button(`Remove ${item.name}`, "✕", () => model.send({ kind: "remove", id: item.id })),
    );
    made.dataset.state = item.state;
    made.dataset.id = item.id;
    made.addEventListener("dragstart", (event) => {
      dragged = item.id;
      event.dataTransfer.effectAllowed = "move";
    });
    made.addEventListener("dragend", () => (dragged = null));
    made.addEventListener("drop", (event) => {
      if (dragged === null) return;
      event.preventDefault();
      event.stopPropagation();
      model.send({ kind: "move", id: dragged, to: index });
    });
    return made;
  };

  // Who uses the keyboard goes on from the same button, or from the next one that can be pressed.
  const keepFocus = (change) => {
    const focused = list.getRootNode().activeElement;
    const held = list.contains(focused) ? focused.closest("li") : null;
    const at = [...list.children].indexOf(held);
    const which = held ? [...held.querySelectorAll("button")].indexOf(focused) : -1;
    change();
    if (which < 0) return;
    const now = list.querySelector(`li[data-id="${held.dataset.id}"]`) ?? list.children[at];
    const buttons = [...(now ?? list.lastElementChild ?? root).querySelectorAll("button")];
    const pressed = buttons[which] ?? choose;
    (pressed.disabled ? buttons.find((each) => !each.disabled) : pressed).focus();
  };

  const draw = () => {
    const items = model.get("items");
    keepFocus(() =>
      list.replaceChildren(...items.map((item, index) => figure(item, index, items.length))),
    );
    const ids = items.map((item) => item.id);
    for (const [id, url] of thumbnails) {
      if (!ids.includes(id)) {
        URL.revokeObjectURL(url);
        thumbnails.delete(id);
      }
    }
    ask(1000);
  };

  // While a page is being loaded again, or a cell runs, a message may be lost or wait.
  const ask = (delay) => {
    clearTimeout(again);
    const missing = model.get("items").map((item) => item.id).filter((id) => !thumbnails.has(id));
    if (!missing.length) return;
    model.send({ kind: "thumbnails", ids: missing });
    again = setTimeout(() => ask(Math.min(2 * delay, 60_000)), delay);
  };

  const hear = (content, buffers) => {
    if (content.kind === "taken" && sent.delete(content.upload)) say();
    if (content.kind !== "thumbnails") return;
    content.ids.forEach((id, index) => {
      if (thumbnails.has(id)) return;
      const url = URL.createObjectURL(new Blob([buffers[index]], { type: "image/jpeg" }));
      thumbnails.set(id, url);
      const image = list.querySelector(`li[data-id="${id}"] img`);
      if (image) image.src = url;
    });
  };

  // A kernel that runs a cell takes files afterwards.
  const say = () => {
    const problems = [unsent, model.get("message")].filter(Boolean).join(" ");
    const waiting = sent.size ? `adding ${[...sent.values()].join(", ")} …` : "";
    const shown = [];
    if (problems) shown.push(element("span", { className: "llmagic-upload-problem" }, problems));
    if (problems && waiting) shown.push(" ");
    if (waiting) shown.push(waiting);
    said.replaceChildren(...shown);
  };

  choose.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // The same file may be chosen again.
  });
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    event.stopPropagation();
    take([...event.dataTransfer.files]);
  });
  model.on("change:items", draw);
  model.on("change:message", say);
  model.on("msg:custom", hear);
  el.append(root);
  say();
  draw();
  return () => {
    clearTimeout(again);
    model.off("change:items", draw);
    model.off("change:message", say);
    model.off("msg:custom", hear);
    thumbnails.forEach((url) => URL.revokeObjectURL(url));
  };
}

export default { render };
