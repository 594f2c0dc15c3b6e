// Keys, help and copying. Every page works without this file.

const KEYS = "hubwarden-single-keys";
const help = document.getElementById("help");
const keysOn = document.getElementById("keys-on");
const rows = [...document.querySelectorAll("main [data-row]")];

function enabled() {
  return !keysOn || keysOn.checked;
}

function typing(target) {
  return target instanceof Element && target.closest("input, select, textarea, [contenteditable]");
}

function step(by) {
  if (rows.length === 0) return;
  const here = rows.findIndex((row) => row.contains(document.activeElement));
  const next = here < 0 ? 0 : Math.min(Math.max(here + by, 0), rows.length - 1);
  rows[next].querySelector("[data-open]").focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

function search() {
  const field =
    document.querySelector("main [data-search]") ?? document.querySelector("[data-search]");
  field?.focus();
  field?.select();
}

const actions = {
  j: () => step(1),
  k: () => step(-1),
  u: () => document.querySelector("[data-up]")?.click(),
  "/": search,
  "?": () => help?.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (help?.open || !enabled()) return;
  const action = actions[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});

if (keysOn) {
  keysOn.checked = localStorage.getItem(KEYS) !== "off";
  keysOn.addEventListener("change", () => {
    localStorage.setItem(KEYS, keysOn.checked ? "on" : "off");
  });
}

for (const button of document.querySelectorAll("[data-help]")) {
  button.hidden = false;
  button.addEventListener("click", () => help.showModal());
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  });
}
