"use strict";
// What only a script can add to pages that work without it: times in the viewer's zone, live figures, the slider,
// forms that keep what was typed when something goes wrong.

const notice = (text) => { document.getElementById("notice").textContent = text; };

const parsed = (html) => new DOMParser().parseFromString(html, "text/html");

/** Put the parts of another page, by their ids, in place of ours. A part that somebody is typing in stays. */
function swap(page, ids) {
  for (const id of ids) {
    const old = document.getElementById(id), fresh = page.getElementById(id);
    if (!old || !fresh) continue;
    const held = document.activeElement;
    const name = held && old.contains(held) ? held.id || held.getAttribute("href") : "";
    old.replaceWith(document.adoptNode(fresh));
    dress(fresh);
    if (name) {
      const again = document.getElementById(name) || fresh.querySelector(`a[href="${CSS.escape(name)}"]`);
      if (again) again.focus({ preventScroll: true });
    }
  }
}

// What stands in the place of a picture that the browser cannot show, as the server draws it for one that it knows so.
const SIGN = "data:image/svg+xml," + encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 160" width="240" height="160">'
  + '<g fill="none" stroke="#7b8496" stroke-width="3"><rect x="84" y="32" width="72" height="54" rx="6"/>'
  + '<path d="M90 78l18-22 13 14 9-9 20 17M80 96L162 24"/></g><text x="120" y="124" text-anchor="middle" '
  + 'font-family="sans-serif" font-size="15" fill="#7b8496">cannot be shown</text></svg>');

const isBroken = (image) => image.src === SIGN;

function putSign(image) { if (image.getAttribute("src") && !isBroken(image)) image.src = SIGN; }

// Errors of pictures do not bubble. Those that came before this script are found by dress().
document.addEventListener("error", (event) => { if (event.target instanceof HTMLImageElement) putSign(event.target); }, true);

/** What has to be done to every part of a page that is shown. */
function dress(part) {
  part.querySelectorAll("img").forEach((image) => { if (image.complete && !image.naturalWidth) putSign(image); });
  part.querySelectorAll("time[datetime]").forEach(showTime);
  part.querySelectorAll("[data-clock]").forEach((text) => {
    text.textContent = clock.format(new Date(text.dataset.clock)) + (text.dataset.rest || "");
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

// -- live figures: at most one request in two seconds, none while nobody looks ---------------------------------------

function keepLive() {
  const live = [...document.querySelectorAll("[data-live]")];
  if (!live.length) return;
  const pause = Math.max(2, Math.min(...live.map((part) => Number(part.dataset.live)))) * 1000;
  let waiting = null, failed = false;
  const ids = live.map((part) => part.id);
  const look = async () => {
    waiting = null;
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
      if (answer.status === 401) { notice("Your sign-in has ended: load the page again."); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      swap(parsed(await answer.text()), ids);
      if (failed) notice("");
      failed = false;
    } catch {
      if (!failed) notice(`The console does not answer. These figures are from ${new Date().toLocaleTimeString()}.`);
      failed = true;
    }
    if (document.querySelector("[data-live]")) plan();
  };
  const plan = () => { if (waiting === null && !document.hidden) waiting = setTimeout(look, failed ? 3 * pause : pause); };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { clearTimeout(waiting); waiting = null; } else plan();
  });
  plan();
}

// -- forms -----------------------------------------------------------------------------------------------------------

/** Send a form as the browser would, but stay here when it fails: nothing that was typed is lost. */
async function send(form, button) {
  const body = new FormData(form, button);
  const controls = [...form.querySelectorAll("button")];
  controls.forEach((each) => { each.disabled = true; });
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      body: form.enctype === "multipart/form-data" ? body : new URLSearchParams(body),
      credentials: "same-origin",
    });
    if (answer.redirected) { location.assign(answer.url); return; }
    const page = parsed(await answer.text());
    const trouble = page.querySelector("#trouble p, #sign-in p");
    if (!trouble) { swap(page, ["main"]); return; }
    await refreshToken();
    notice(answer.status === 401 ? "Your sign-in has ended: sign in again in another tab, then repeat this." : trouble.textContent);
  } catch {
    notice("The console does not answer. Nothing was changed, and nothing you typed is lost: try again.");
  } finally {
    controls.forEach((each) => { each.disabled = false; });
  }
}

/** A page that stood open for long may hold a token that is no longer good: take the one of a fresh page. */
async function refreshToken() {
  try {
    const page = parsed(await (await fetch(location.href, { credentials: "same-origin" })).text());
    const fresh = page.querySelector("input[name=token]");
    if (fresh) document.querySelectorAll("input[name=token]").forEach((input) => { input.value = fresh.value; });
  } catch { /* the message that follows says it */ }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.id === "desk" || form.method !== "post") return;
  const question = event.submitter && event.submitter.dataset.confirm;
  event.preventDefault();
  if (!question || confirm(question)) send(form, event.submitter);
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch {
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    notice("Selected: copy it with the keyboard.");
  }
});

// -- the door: a function key goes in a header, and never into an address -------------------------------------------

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!("door" in form.dataset)) return;
  event.preventDefault();
  const problem = form.querySelector("[data-door-problem]");
  for (const door of [new URL(event.submitter.formAction).pathname, "/api/console-reader"]) {
    try {
      const answer = await fetch(door, {
        method: "POST", headers: { "x-functions-key": form.code.value }, redirect: "manual", credentials: "same-origin",
      });
      if (answer.type === "opaqueredirect" || answer.ok) { location.assign(form.next.value); return; }
      problem.textContent = answer.status === 401 ? "That is not a key of this app." : `The app answered ${answer.status}.`;
    } catch { problem.textContent = "The app does not answer."; }
  }
  problem.hidden = false;
  form.code.select();
});

document.documentElement.classList.add("js");
dress(document);
keepLive();
document.querySelector(".top [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
setInterval(() => { if (!document.hidden) document.querySelectorAll("time[data-relative]").forEach(showTime); }, 20000);

// What was told once is not told again when the page is loaded anew.
if (new URLSearchParams(location.search).has("told")) {
  const plain = new URL(location.href);
  plain.searchParams.delete("told");
  plain.searchParams.delete("n");
  history.replaceState(null, "", plain);
  setTimeout(() => notice(""), 6000);
}
