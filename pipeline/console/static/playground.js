"use strict";
// The playground: drop or paste an image, draw a crop box or a focal point on it, and preview without leaving the page.
// The server renders the forms; this script submits them and replaces the changed parts of the page.

(() => {
  const form = document.getElementById("playground");
  const file = document.getElementById("file"), drop = document.getElementById("drop");
  const stage = document.getElementById("stage"), canvas = document.getElementById("canvas");
  const before = document.getElementById("before"), readout = document.getElementById("readout");
  const progress = document.getElementById("progress");
  const box = canvas.querySelector(".box"), dot = canvas.querySelector(".dot");
  const mayPreview = !document.getElementById("preview").disabled;
  let lastRequest = 0, objectUrl = "";

  // -- requests ------------------------------------------------------------------------------------------------------

  async function send(command, fields = {}) {
    const body = new FormData(form);
    body.set("command", command);
    body.delete("tool");
    for (const [name, value] of Object.entries(fields)) body.set(name, value);
    const request = ++lastRequest;
    const isPreview = command === "preview";
    // The response replaces the builder, so changes made meanwhile would be lost.
    const locked = isPreview ? [] : [...form.querySelectorAll("#builder :is(input, select, textarea, button):enabled")];
    locked.forEach((each) => { each.disabled = true; });
    if (!isPreview) body.delete("image");
    if (isPreview) { progress.textContent = "Rendering…"; document.getElementById("result").classList.add("busy"); }
    try {
      const response = await fetch(form.action, { method: "POST", body, credentials: "same-origin" });
      const page = parsed(await response.text());
      if (request !== lastRequest) return;
      const error = page.querySelector("#error p, #sign-in p");
      if (error) { notice(error.textContent); await refreshToken(); return; }
      notice("");
      swap(page, isPreview && response.status === 200 && !document.querySelector("#builder [aria-invalid]")
        ? ["result", "as-yaml"] : ["builder", "as-yaml", ...(isPreview ? ["result"] : [])]);
    } catch {
      if (request === lastRequest) notice("The console does not respond. Your input is kept. Try again.");
    } finally {
      locked.forEach((each) => { each.disabled = false; });
      if (request === lastRequest) {
        progress.textContent = "";
        document.getElementById("result").classList.remove("busy");
        draw();
      }
    }
  }

  const hasImage = () => Boolean(file.files.length || form.elements.source.value.trim());
  const preview = () => { if (mayPreview && hasImage()) return send("preview"); };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const command = event.submitter && event.submitter.name === "command" ? event.submitter.value : "preview";
    send(command).then(() => { if (command !== "preview") focusStep(command); });
  });

  function focusStep(command) {
    const steps = document.querySelectorAll("#builder fieldset[data-step]");
    if (command === "add" && steps.length) steps[steps.length - 1].querySelector("input:not([type=hidden]), select, textarea")?.focus();
  }

  form.addEventListener("change", (event) => {
    if (event.target === file) { showFile(file.files[0]); return; }
    if (event.target.name === "source") { showBlob(); return; }
    if (event.target.name === "tool") return;
    if ("redraw" in event.target.dataset) { send("redraw").then(preview); return; }
    if (event.target.closest("#builder")) { draw(); if (event.target.name !== "transform") preview(); }
  });

  // -- the image -----------------------------------------------------------------------------------------------------

  function showFile(image) {
    if (!image) return;
    form.elements.source.value = "";
    if (objectUrl) URL.revokeObjectURL(objectUrl);
    show(objectUrl = URL.createObjectURL(image), `${image.name}`);
    preview();
  }

  function showBlob() {
    const name = form.elements.source.value.trim();
    if (!name) return;
    file.value = "";
    show(`${form.action.replace(/\/playground$/, "")}/images/blob?source=${encodeURIComponent(name)}`, name);
    preview();
  }

  function show(url, name) {
    before.src = url;
    before.alt = `Before: ${name}`;
    stage.hidden = false;
  }

  before.addEventListener("load", draw);

  for (const kind of ["dragover", "dragenter"]) document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) { file.files = event.dataTransfer.files; showFile(file.files[0]); }
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData && event.clipboardData.files.length) { file.files = event.clipboardData.files; showFile(file.files[0]); }
  });

  // -- drawing: positions are fractions of the image, from its upper left corner ---------------------------------------

  const position = (event) => {
    const area = before.getBoundingClientRect();
    const fraction = (value, size) => Math.min(1, Math.max(0, value / size));
    return [fraction(event.clientX - area.left, area.width), fraction(event.clientY - area.top, area.height)];
  };
  const tool = () => form.elements.tool.value;
  const percent = (value) => `${(value * 100).toFixed(1).replace(/\.0$/, "")}%`;
  let start = null;

  canvas.addEventListener("pointerdown", (event) => { start = position(event); canvas.setPointerCapture(event.pointerId); event.preventDefault(); });
  canvas.addEventListener("pointermove", (event) => { if (start && tool() === "box") place(box, corners(start, position(event))); });
  canvas.addEventListener("pointerup", (event) => {
    if (!start) return;
    const end = position(event), from = start;
    start = null;
    if (tool() === "focal") setFocal(end);
    else if (Math.abs(end[0] - from[0]) > 0.01 && Math.abs(end[1] - from[1]) > 0.01) setBox(corners(from, end));
    else draw();
  });

  const corners = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];

  function place(part, [left, top, right, bottom]) {
    part.hidden = false;
    Object.assign(part.style, { left: percent(left), top: percent(top), width: percent(right - left), height: percent(bottom - top) });
  }

  const cropField = () => document.querySelector("#builder fieldset[data-step=crop] [data-box]");

  async function setBox(area) {
    const text = area.map(percent).join(", ");
    let field = cropField();
    if (!field && document.querySelector("#builder input[name=mode][value=recipe]:checked")) {
      notice("This recipe is in the recipe file. Select \u201cEdit as custom\u201d, then draw.");
      return;
    }
    if (!field) { await send("add", { transform: "crop", box: text }); field = cropField(); }
    if (!field) return;
    field.value = text;
    const aspect = field.closest("fieldset").querySelector("[name$=-aspect]");
    if (aspect) aspect.value = "";
    draw();
    preview();
  }

  function setFocal([x, y]) {
    form.elements.focal.value = `${x.toFixed(3)},${y.toFixed(3)}`;
    draw();
    preview();
  }

  /** Draw the crop box and the focal point of the form. */
  function draw() {
    box.hidden = dot.hidden = true;
    const area = parseBox(cropField()?.value);
    if (area) place(box, area);
    const focal = form.elements.focal.value;
    if (focal) {
      const [x, y] = focal.split(",").map(Number);
      dot.hidden = false;
      Object.assign(dot.style, { left: percent(x), top: percent(y) });
    }
    readout.textContent = [
      before.naturalWidth && !isPlaceholder(before) ? `${before.naturalWidth} × ${before.naturalHeight}` : "",
      focal ? `focal point ${focal.split(",").map((each) => percent(Number(each))).join(", ")} (used by gravity focal)` : "",
    ].filter(Boolean).join(" · ");
  }

  function parseBox(text) {
    const parts = (text || "").split(",").map((part) => part.trim());
    if (parts.length !== 4 || !before.naturalWidth || isPlaceholder(before)) return null;
    const sizes = [before.naturalWidth, before.naturalHeight];
    const area = parts.map((part, index) => part.endsWith("%") ? parseFloat(part) / 100 : parseFloat(part) / sizes[index % 2]);
    return area.some(Number.isNaN) ? null : area;
  }

  if (form.elements.source.value.trim()) showBlob();
})();
