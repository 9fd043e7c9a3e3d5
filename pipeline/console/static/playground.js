"use strict";
// The playground: pictures dropped or pasted, a box or a point drawn on them, and results that come without leaving
// the page. Forms are made on the server; this sends them and puts the parts that come back in place.

(() => {
  const desk = document.getElementById("desk");
  const file = document.getElementById("file"), drop = document.getElementById("drop");
  const stage = document.getElementById("stage"), canvas = document.getElementById("canvas");
  const before = document.getElementById("before"), where = document.getElementById("where");
  const progress = document.getElementById("progress");
  const box = canvas.querySelector(".box"), dot = canvas.querySelector(".dot");
  const mayRun = !document.getElementById("run").disabled;
  let turn = 0, address = "";

  // -- sending -------------------------------------------------------------------------------------------------------

  async function send(action, more = {}) {
    const body = new FormData(desk);
    body.set("do", action);
    body.delete("draws");
    for (const [name, value] of Object.entries(more)) body.set(name, value);
    const mine = ++turn;
    const running = action === "run";
    // What is changed while the builder comes anew would be gone.
    const held = running ? [] : [...desk.querySelectorAll("#builder :is(input, select, textarea, button):enabled")];
    held.forEach((each) => { each.disabled = true; });
    if (!running) body.delete("picture");
    if (running) { progress.textContent = "Running…"; document.getElementById("result").classList.add("busy"); }
    try {
      const answer = await fetch(desk.action, { method: "POST", body, credentials: "same-origin" });
      const page = parsed(await answer.text());
      if (mine !== turn) return;
      const trouble = page.querySelector("#trouble p, #sign-in p");
      if (trouble) { notice(trouble.textContent); await refreshToken(); return; }
      notice("");
      swap(page, running && answer.status === 200 && !document.querySelector("#builder [aria-invalid]")
        ? ["result", "as-yaml"] : ["builder", "as-yaml", ...(running ? ["result"] : [])]);
    } catch {
      if (mine === turn) notice("The console does not answer. Nothing is lost: try again.");
    } finally {
      held.forEach((each) => { each.disabled = false; });
      if (mine === turn) {
        progress.textContent = "";
        document.getElementById("result").classList.remove("busy");
        draw();
      }
    }
  }

  const hasPicture = () => Boolean(file.files.length || desk.elements.source.value.trim());
  const run = () => { if (mayRun && hasPicture()) return send("run"); };

  desk.addEventListener("submit", (event) => {
    event.preventDefault();
    const action = event.submitter && event.submitter.name === "do" ? event.submitter.value : "run";
    send(action).then(() => { if (action !== "run") focusStep(action); });
  });

  function focusStep(action) {
    const steps = document.querySelectorAll("#builder fieldset[data-step]");
    if (action === "add" && steps.length) steps[steps.length - 1].querySelector("input:not([type=hidden]), select, textarea")?.focus();
  }

  desk.addEventListener("change", (event) => {
    if (event.target === file) { take(file.files[0]); return; }
    if (event.target.name === "source") { fromBlob(); return; }
    if (event.target.name === "draws") return;
    if ("redraw" in event.target.dataset) { send("redraw").then(run); return; }
    if (event.target.closest("#builder")) { draw(); if (event.target.name !== "transform") run(); }
  });

  // -- the picture ---------------------------------------------------------------------------------------------------

  function take(picture) {
    if (!picture) return;
    desk.elements.source.value = "";
    if (address) URL.revokeObjectURL(address);
    show(address = URL.createObjectURL(picture), `${picture.name}`);
    run();
  }

  function fromBlob() {
    const name = desk.elements.source.value.trim();
    if (!name) return;
    file.value = "";
    show(`${desk.action.replace(/\/playground$/, "")}/pictures/blob?source=${encodeURIComponent(name)}`, name);
    run();
  }

  function show(source, name) {
    before.src = source;
    before.alt = `Before: ${name}`;
    stage.hidden = false;
  }

  before.addEventListener("load", draw);

  for (const kind of ["dragover", "dragenter"]) document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) { file.files = event.dataTransfer.files; take(file.files[0]); }
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData && event.clipboardData.files.length) { file.files = event.clipboardData.files; take(file.files[0]); }
  });

  // -- drawing: fractions of the picture, from its upper left corner -------------------------------------------------

  const at = (event) => {
    const area = before.getBoundingClientRect();
    const fraction = (value, size) => Math.min(1, Math.max(0, value / size));
    return [fraction(event.clientX - area.left, area.width), fraction(event.clientY - area.top, area.height)];
  };
  const mode = () => desk.elements.draws.value;
  const percent = (value) => `${(value * 100).toFixed(1).replace(/\.0$/, "")}%`;
  let start = null;

  canvas.addEventListener("pointerdown", (event) => { start = at(event); canvas.setPointerCapture(event.pointerId); event.preventDefault(); });
  canvas.addEventListener("pointermove", (event) => { if (start && mode() === "box") place(box, spanned(start, at(event))); });
  canvas.addEventListener("pointerup", (event) => {
    if (!start) return;
    const end = at(event), from = start;
    start = null;
    if (mode() === "focal") setFocal(end);
    else if (Math.abs(end[0] - from[0]) > 0.01 && Math.abs(end[1] - from[1]) > 0.01) setBox(spanned(from, end));
    else draw();
  });

  const spanned = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];

  function place(part, [left, top, right, bottom]) {
    part.hidden = false;
    Object.assign(part.style, { left: percent(left), top: percent(top), width: percent(right - left), height: percent(bottom - top) });
  }

  const cropField = () => document.querySelector("#builder fieldset[data-step=crop] [data-region]");

  async function setBox(corners) {
    const text = corners.map(percent).join(", ");
    let field = cropField();
    if (!field && document.querySelector("#builder input[name=how][value=recipe]:checked")) {
      notice("This recipe stands in the file: take it apart, then draw.");
      return;
    }
    if (!field) { await send("add", { transform: "crop", box: text }); field = cropField(); }
    if (!field) return;
    field.value = text;
    const aspect = field.closest("fieldset").querySelector("[name$=-aspect]");
    if (aspect) aspect.value = "";
    draw();
    run();
  }

  function setFocal([across, down]) {
    desk.elements.focal.value = `${across.toFixed(3)},${down.toFixed(3)}`;
    draw();
    run();
  }

  /** Show the box and the point that the form holds. */
  function draw() {
    box.hidden = dot.hidden = true;
    const corners = numbers(cropField()?.value);
    if (corners) place(box, corners);
    const focal = desk.elements.focal.value;
    if (focal) {
      const [across, down] = focal.split(",").map(Number);
      dot.hidden = false;
      Object.assign(dot.style, { left: percent(across), top: percent(down) });
    }
    where.textContent = [
      before.naturalWidth && !isBroken(before) ? `${before.naturalWidth} × ${before.naturalHeight}` : "",
      focal ? `focal point ${focal.split(",").map((each) => percent(Number(each))).join(", ")} (for gravity focal)` : "",
    ].filter(Boolean).join(" · ");
  }

  function numbers(text) {
    const parts = (text || "").split(",").map((part) => part.trim());
    if (parts.length !== 4 || !before.naturalWidth || isBroken(before)) return null;
    const found = parts.map((part, index) => part.endsWith("%") ? parseFloat(part) / 100 : parseFloat(part) / (index % 2 ? before.naturalHeight : before.naturalWidth));
    return found.some(Number.isNaN) ? null : found;
  }

  if (desk.elements.source.value.trim()) fromBlob();
})();
