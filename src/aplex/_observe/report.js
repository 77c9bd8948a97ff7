"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const chart = document.getElementById("chart");
  const canvas = chart.querySelector("canvas");
  const tip = document.getElementById("tip");
  const context = canvas.getContext("2d");
  const SEVERAL = 0xffff, LEFT = 84, TOP = 22, GAP = 7;

  function unpack(text, Kind) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Kind(bytes.buffer);
  }
  const begins = unpack(data.begins, Uint32Array), lengths = unpack(data.lengths, Uint32Array);
  const waits = unpack(data.waits, Uint32Array), numbers = unpack(data.numbers, Uint32Array);
  const names = unpack(data.names, Uint16Array), outcomes = unpack(data.outcomes, Uint8Array);
  const counts = data.counts ? unpack(data.counts, Uint32Array) : null;
  const tick = data.tick, wall = data.wall;

  // -- rows: each track of a slot has its place; many lanes of coroutines are drawn thinner
  const lanesOf = new Map();
  for (const [slot, lane] of data.tracks) {
    if (lane === 0) lanesOf.set(slot, (lanesOf.get(slot) || 0) + 1);
  }
  const rows = [], slots = new Map();
  let y = TOP, first = 0, before = null;
  for (const [slot, lane, count] of data.tracks) {
    if (slot !== before) {
      y += before === null ? 2 : GAP;
      slots.set(slot, { top: y, bottom: y });
      before = slot;
    }
    const many = lanesOf.get(slot) || 1;
    const height = lane === 1 ? 13 : many <= 6 ? 9 : many <= 40 ? 4 : Math.max(1, 160 / many);
    rows.push({ slot, lane, first, last: first + count, top: y, height });
    y += height + (height >= 4 ? 1 : 0);
    slots.get(slot).bottom = y;
    first += count;
  }
  const HEIGHT = Math.ceil(y + 10);

  // -- colours
  const HUES = [215, 28, 150, 280, 190, 50, 330, 110, 255, 0, 170, 85];
  const hues = new Map(data.functions.map((name, at) => [name, HUES[at % HUES.length]]));
  let dark = false;
  function colour(name, outcome) {
    const kind = data.outcomeTexts[outcome];
    if (kind === "failed") return dark ? "#ff6b74" : "#d22f3c";
    if (kind === "lost") return dark ? "#b0444b" : "#8d1f28";
    if (name === SEVERAL) return dark ? "#7b848d" : "#98a1aa";
    const hue = hues.get(data.texts[name]);
    const strength = kind === "cancelled" ? 12 : 58;
    if (hue === undefined) return dark ? "#8a939c" : "#8a939c";
    return `hsl(${hue} ${strength}% ${dark ? 62 : 52}%)`;
  }

  function seconds(value) {
    const text = (number, unit) => `${Number(number.toPrecision(3))} ${unit}`;
    if (value >= 0.9995) return text(value, "s");
    if (value >= 0.9995e-3) return text(value * 1e3, "ms");
    if (value >= 0.9995e-6) return text(value * 1e6, "µs");
    return `${Math.round(value * 1e9)} ns`;
  }

  // -- what is seen: from `from` to `to`, in seconds
  let from = 0, to = wall, width = 0, planned = false, printing = false;
  const x = (time) => LEFT + ((time - from) / (to - from)) * (width - LEFT - 8);
  const timeAt = (place) => from + ((place - LEFT) / (width - LEFT - 8)) * (to - from);

  function look(newFrom, newTo) {
    const span = Math.min(wall, Math.max(newTo - newFrom, wall * 1e-7, 1e-8));
    from = Math.min(Math.max(0, newFrom), wall - span);
    to = from + span;
    plan();
  }
  function plan() {
    if (!planned) {
      planned = true;
      requestAnimationFrame(() => { planned = false; draw(); });
    }
  }

  function firstAt(row, time) { // the first span that begins at that tick or later
    let low = row.first, high = row.last;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (begins[middle] < time) low = middle + 1; else high = middle;
    }
    return low;
  }

  function drawRow(row) {
    const least = from / tick, most = to / tick, scale = (width - LEFT - 8) / (to - from) * tick;
    let reached = -1, reachedColour = "";
    for (let at = Math.max(row.first, firstAt(row, least) - 1); at < row.last; at++) {
      if (begins[at] > most) break;
      const left = Math.max(LEFT, LEFT + (begins[at] - least) * scale);
      const right = Math.min(width - 8, LEFT + (begins[at] + lengths[at] - least) * scale);
      if (right < LEFT) continue;
      const fill = colour(names[at], outcomes[at]);
      if (right <= reached + 0.4 && fill === reachedColour) continue; // within the same pixel
      context.fillStyle = fill;
      const long = Math.max(right - left, 0.8);
      context.fillRect(left, row.top, long > 3 ? long - 0.6 : long, row.height);
      reached = right; reachedColour = fill;
    }
  }

  function drawAxis(ink) {
    context.fillStyle = ink.muted;
    context.strokeStyle = ink.line;
    context.font = "11px system-ui, sans-serif";
    const span = to - from, raw = span / Math.max(2, (width - LEFT) / 110);
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw);
    for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
      const place = Math.round(x(time)) + 0.5;
      context.beginPath(); context.moveTo(place, TOP - 6); context.lineTo(place, HEIGHT);
      context.stroke();
      const digits = Math.max(0, Math.ceil(-Math.log10(step)));
      context.fillText(`${time.toFixed(Math.min(9, digits))} s`, place + 3, 12);
    }
  }

  function drawSlots(ink) {
    context.font = "12px system-ui, sans-serif";
    let last = -100;
    for (const [slot, place] of slots) {
      context.strokeStyle = ink.line;
      context.beginPath(); context.moveTo(0, place.top - GAP / 2); context.lineTo(width, place.top - GAP / 2);
      context.stroke();
      if (place.top - last >= 12) {
        context.fillStyle = ink.ink;
        context.fillText(`slot ${slot}`, 8, place.top + 11);
        last = place.top;
      }
    }
  }

  function drawMarks(ink) {
    for (const [time, slot] of data.deaths) {
      if (time < from || time > to || !slots.has(slot)) continue;
      const place = x(time), top = slots.get(slot).top;
      context.fillStyle = ink.bad;
      context.beginPath();
      context.moveTo(place - 5, top - 4); context.lineTo(place + 5, top - 4);
      context.lineTo(place, top + 4); context.fill();
      context.fillRect(place - 0.75, top, 1.5, slots.get(slot).bottom - top);
    }
    for (const [time, text] of data.marks) {
      if (time < from || time > to) continue;
      const place = Math.round(x(time)) + 0.5;
      context.strokeStyle = context.fillStyle = ink.accent;
      context.beginPath(); context.moveTo(place, TOP - 8); context.lineTo(place, HEIGHT); context.stroke();
      context.fillText(text.slice(0, 40), place + 3, TOP - 1);
    }
  }

  function draw() {
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    width = chart.clientWidth;
    dark = !printing && matchMedia("(prefers-color-scheme: dark)").matches;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(HEIGHT * ratio);
    canvas.style.height = `${HEIGHT}px`;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, HEIGHT);
    const style = getComputedStyle(document.documentElement);
    const ink = {};
    for (const name of ["ink", "muted", "line", "bad", "accent"]) {
      ink[name] = style.getPropertyValue(`--${name}`).trim();
    }
    drawAxis(ink);
    drawSlots(ink);
    for (const row of rows) drawRow(row);
    drawMarks(ink);
  }

  // -- what is under the pointer
  function found(place, height) {
    for (const [time, slot, cause, worker] of data.deaths) {
      const where = slots.get(slot);
      if (where && Math.abs(x(time) - place) < 6 && height > where.top - 6 && height < where.bottom) {
        return `worker ${worker} ${cause}\nat ${seconds(time)}, slot ${slot}`;
      }
    }
    const row = rows.find((each) => height >= each.top - 0.5 && height <= each.top + each.height + 0.5);
    if (!row || place < LEFT) return "";
    const time = timeAt(place) / tick, near = ((to - from) / (width - LEFT)) / tick * 2;
    const at = firstAt(row, time + near) - 1;
    if (at < row.first || begins[at] + lengths[at] < time - near) return "";
    const name = names[at] === SEVERAL ? "several functions" : data.texts[names[at]];
    const many = counts && counts[at] > 1;
    const lines = [many ? `${name}\n${counts[at]} works, the first is ${numbers[at]}` : `${name}\nwork ${numbers[at]}`];
    lines.push(`${data.outcomeTexts[outcomes[at]]}, ran ${seconds(lengths[at] * tick)}, waited ${seconds(waits[at] * tick)}`);
    lines.push(`began at ${seconds(begins[at] * tick)}, slot ${row.slot}`);
    return lines.join("\n");
  }

  let held = null;
  canvas.addEventListener("pointermove", (event) => {
    if (held) {
      const moved = (held.x - event.offsetX) / (width - LEFT - 8) * (held.to - held.from);
      look(held.from + moved, held.to + moved);
      return;
    }
    const text = found(event.offsetX, event.offsetY);
    tip.hidden = !text;
    tip.textContent = text;
    if (text) {
      tip.style.left = `${Math.max(4, Math.min(event.offsetX + 14, width - tip.offsetWidth - 6))}px`;
      tip.style.top = `${Math.max(4, Math.min(event.offsetY + 16, HEIGHT - tip.offsetHeight - 4))}px`;
    }
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("pointerdown", (event) => {
    held = { x: event.offsetX, from, to };
    canvas.setPointerCapture(event.pointerId);
    tip.hidden = true;
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => { held = null; });
  function zoom(factor, time) { look(time - (time - from) * factor, time + (to - time) * factor); }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : 1;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const moved = (event.deltaX || event.deltaY) * unit / width * (to - from);
      look(from + moved, to + moved);
    } else {
      zoom(Math.exp(event.deltaY * unit / 400), timeAt(Math.max(LEFT, event.offsetX)));
    }
  }, { passive: false });
  canvas.addEventListener("dblclick", () => look(0, wall));
  canvas.addEventListener("keydown", (event) => {
    const span = to - from, middle = (from + to) / 2;
    const keys = {
      "+": () => zoom(0.6, middle), "=": () => zoom(0.6, middle), "-": () => zoom(1 / 0.6, middle),
      "ArrowLeft": () => look(from - span / 5, to - span / 5),
      "ArrowRight": () => look(from + span / 5, to + span / 5),
      "0": () => look(0, wall), "Home": () => look(0, span), "End": () => look(wall - span, wall),
    };
    if (Object.hasOwn(keys, event.key) && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  // -- the legend
  function legend() {
    const place = document.getElementById("legend");
    place.textContent = "";
    const entries = data.functions.map((name) => [name, `hsl(${hues.get(name)} 58% ${dark ? 62 : 52}%)`]);
    if (data.outcomeTexts && outcomes.includes(data.outcomeTexts.indexOf("failed"))) {
      entries.push(["failed", colour(0, data.outcomeTexts.indexOf("failed"))]);
    }
    if (outcomes.includes(data.outcomeTexts.indexOf("lost"))) {
      entries.push(["lost with its worker", colour(0, data.outcomeTexts.indexOf("lost"))]);
    }
    if (counts) entries.push([`several works, merged below ${seconds(data.merged)}`, colour(SEVERAL, 0)]);
    for (const [text, fill] of entries) {
      const entry = document.createElement("span"), box = document.createElement("i");
      box.style.background = fill;
      entry.append(box, document.createTextNode(text));
      place.append(entry);
    }
  }

  function all() { draw(); legend(); }
  new ResizeObserver(plan).observe(chart);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  addEventListener("beforeprint", () => { printing = true; all(); });
  addEventListener("afterprint", () => { printing = false; all(); });
  all();
})();
