"use strict";
// Enhancements of pages that also work without scripts: times in the viewer's time zone, live figures, the comparison
// slider, and forms that keep their input after an error.

const notice = (text) => { document.getElementById("notice").textContent = text; };

const parsed = (html) => new DOMParser().parseFromString(html, "text/html");

/** Replace parts of this page by those of another page, by their ids, and keep the keyboard focus. */
function swap(page, ids) {
  for (const id of ids) {
    const old = document.getElementById(id), fresh = page.getElementById(id);
    if (!old || !fresh) continue;
    const focused = document.activeElement;
    const key = focused && old.contains(focused) ? focused.id || focused.getAttribute("href") : "";
    old.replaceWith(document.adoptNode(fresh));
    enhance(fresh);
    if (key) {
      const target = document.getElementById(key) || fresh.querySelector(`a[href="${CSS.escape(key)}"]`);
      if (target) target.focus({ preventScroll: true });
    }
  }
}

// The placeholder for an image that the browser cannot display. It looks like the placeholders of the server.
const PLACEHOLDER = "data:image/svg+xml," + encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 160" width="240" height="160">'
  + '<g fill="none" stroke="#7b8496" stroke-width="3"><rect x="84" y="32" width="72" height="54" rx="6"/>'
  + '<path d="M90 78l18-22 13 14 9-9 20 17M80 96L162 24"/></g><text x="120" y="124" text-anchor="middle" '
  + 'font-family="sans-serif" font-size="15" fill="#7b8496">cannot be displayed</text></svg>');

const isPlaceholder = (image) => image.src === PLACEHOLDER;

function showPlaceholder(image) { if (image.getAttribute("src") && !isPlaceholder(image)) image.src = PLACEHOLDER; }

// Error events of images do not bubble. enhance() finds images that failed before this script ran.
document.addEventListener("error", (event) => { if (event.target instanceof HTMLImageElement) showPlaceholder(event.target); }, true);

/** Enhance a part of a page: replace broken images, convert times, activate sliders. */
function enhance(part) {
  part.querySelectorAll("img").forEach((image) => { if (image.complete && !image.naturalWidth) showPlaceholder(image); });
  part.querySelectorAll("time[datetime]").forEach(showTime);
  part.querySelectorAll("[data-clock]").forEach((text) => {
    text.textContent = clock.format(new Date(text.dataset.clock)) + (text.dataset.suffix || "");
  });
  part.querySelectorAll(".compare input").forEach((input) => {
    const move = () => input.parentElement.style.setProperty("--at", `${input.value}%`);
    input.addEventListener("input", move);
    move();
  });
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function showTime(time) {
  const moment = new Date(time.dateTime);
  if (Number.isNaN(moment.getTime())) return;
  time.title = exact.format(moment);
  time.textContent = "relative" in time.dataset ? since(moment) : exact.format(moment);
}

function since(moment) {
  const seconds = Math.max(0, (Date.now() - moment.getTime()) / 1000);
  if (seconds < 5) return "just now";
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([least]) => seconds >= least);
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

// -- live figures: at most one request in 2 s, none while the page is hidden -----------------------------------------

function keepLive() {
  const live = [...document.querySelectorAll("[data-live]")];
  if (!live.length) return;
  const interval = Math.max(2, Math.min(...live.map((part) => Number(part.dataset.live)))) * 1000;
  const ids = live.map((part) => part.id);
  let timer = null, failed = false;
  const refresh = async () => {
    timer = null;
    if (document.hidden) return;
    try {
      const response = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
      if (response.status === 401) { notice("Your sign-in has expired. Reload the page."); return; }
      if (!response.ok) throw new Error(String(response.status));
      swap(parsed(await response.text()), ids);
      if (failed) notice("");
      failed = false;
    } catch {
      if (!failed) notice(`The console does not respond. These figures are from ${new Date().toLocaleTimeString()}.`);
      failed = true;
    }
    if (document.querySelector("[data-live]")) schedule();
  };
  const schedule = () => {
    if (timer === null && !document.hidden) timer = setTimeout(refresh, failed ? 3 * interval : interval);
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { clearTimeout(timer); timer = null; } else schedule();
  });
  schedule();
}

// -- forms -----------------------------------------------------------------------------------------------------------

/** Submit a form. After an error, stay on the page, so that the input is kept. */
async function submitForm(form, button) {
  const body = new FormData(form, button);
  const buttons = [...form.querySelectorAll("button")];
  buttons.forEach((each) => { each.disabled = true; });
  try {
    const response = await fetch(form.action, {
      method: "POST",
      body: form.enctype === "multipart/form-data" ? body : new URLSearchParams(body),
      credentials: "same-origin",
    });
    if (response.redirected) { location.assign(response.url); return; }
    const page = parsed(await response.text());
    const error = page.querySelector("#error p, #sign-in p");
    if (!error) { swap(page, ["main"]); return; }
    await refreshToken();
    notice(response.status === 401 ? "Your sign-in has expired. Sign in again in another tab, then retry." : error.textContent);
  } catch {
    notice("The console does not respond. Nothing was changed, and your input is kept. Try again.");
  } finally {
    buttons.forEach((each) => { each.disabled = false; });
  }
}

/** Copy the CSRF token of a fresh page into the forms, because the token of a page that was open for long may be invalid. */
async function refreshToken() {
  try {
    const page = parsed(await (await fetch(location.href, { credentials: "same-origin" })).text());
    const fresh = page.querySelector("input[name=csrf_token]");
    if (fresh) document.querySelectorAll("input[name=csrf_token]").forEach((input) => { input.value = fresh.value; });
  } catch { /* The caller shows an error message. */ }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.id === "playground" || form.method !== "post") return;
  const question = event.submitter && event.submitter.dataset.confirm;
  event.preventDefault();
  if (!question || confirm(question)) submitForm(form, event.submitter);
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch {
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    notice("Selected. Copy it with the keyboard.");
  }
});

// -- sign-in: the function key is sent in a header, never in a URL ---------------------------------------------------

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!("signIn" in form.dataset)) return;
  event.preventDefault();
  const error = form.querySelector("[data-sign-in-error]");
  for (const path of [new URL(event.submitter.formAction).pathname, "/api/console-reader"]) {
    try {
      const response = await fetch(path, {
        method: "POST", headers: { "x-functions-key": form.code.value }, redirect: "manual", credentials: "same-origin",
      });
      if (response.type === "opaqueredirect" || response.ok) { location.assign(form.next.value); return; }
      error.textContent = response.status === 401 ? "This is not a key of this app." : `The app responded with ${response.status}.`;
    } catch { error.textContent = "The app does not respond."; }
  }
  error.hidden = false;
  form.code.select();
});

document.documentElement.classList.add("js");
enhance(document);
keepLive();
document.querySelector(".top [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
setInterval(() => { if (!document.hidden) document.querySelectorAll("time[data-relative]").forEach(showTime); }, 20000);

// Remove the notice from the URL, so that a reload does not show it again.
if (new URLSearchParams(location.search).has("notice")) {
  const url = new URL(location.href);
  url.searchParams.delete("notice");
  url.searchParams.delete("count");
  history.replaceState(null, "", url);
  setTimeout(() => notice(""), 6000);
}
