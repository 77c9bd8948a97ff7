// Makes one SVG of what a page shows: boxes, texts, its charts, and what its canvas was drawn by.
// `record` must have run before the page's own program; `draw` returns the SVG, down to an element.
const pictureOfPage = {
  calls: [],

  record() {
    const calls = this.calls, kind = CanvasRenderingContext2D.prototype;
    let path = [];
    const spy = (name, note) => {
      const own = kind[name];
      kind[name] = function (...given) { note(this, ...given); return own.apply(this, given); };
    };
    spy("clearRect", () => { calls.length = 0; });
    spy("beginPath", () => { path = []; });
    spy("moveTo", (_, x, y) => path.push(`M${+x.toFixed(1)} ${+y.toFixed(1)}`));
    spy("lineTo", (_, x, y) => path.push(`L${+x.toFixed(1)} ${+y.toFixed(1)}`));
    spy("stroke", (on) => calls.push(["stroke", on.strokeStyle, path.join("")]));
    spy("fill", (on) => calls.push(["fill", on.fillStyle, path.join("")]));
    spy("fillRect", (on, ...box) => calls.push(["rect", on.fillStyle, ...box.map((n) => +n.toFixed(1))]));
    spy("fillText", (on, text, x, y) => calls.push(["text", on.fillStyle, text, x, y, parseInt(on.font)]));
  },

  draw(last) {
    const height = Math.ceil(document.querySelector(last).getBoundingClientRect().bottom) + 14;
    const out = [], width = document.documentElement.clientWidth;
    const safe = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/"/g, "&quot;");
    const round = (number) => +number.toFixed(1);
    const clear = (colour) => /^rgba\(.*, 0\)$/.test(colour) || colour === "transparent";

    const canvas = (box) => {
      out.push(`<g transform="translate(${round(box.x)} ${round(box.y)})">`);
      const rects = new Map(); // those of one colour are one path: it is much shorter
      const flush = () => {
        for (const [fill, path] of rects) out.push(`<path fill="${fill}" d="${path.join("")}"/>`);
        rects.clear();
      };
      for (const [kind, colour, ...given] of this.calls) {
        if (kind === "rect") {
          const [x, y, w, h] = given;
          if (!rects.has(colour)) rects.set(colour, []);
          rects.get(colour).push(`M${x} ${y}h${w}v${h}h${-w}z`);
          continue;
        }
        flush();
        if (kind === "stroke") out.push(`<path stroke="${colour}" fill="none" d="${given[0]}"/>`);
        if (kind === "fill") out.push(`<path fill="${colour}" d="${given[0]}"/>`);
        if (kind === "text") {
          const [text, x, y, size] = given;
          out.push(`<text x="${round(x)}" y="${round(y)}" font-size="${size}" fill="${colour}">${safe(text)}</text>`);
        }
      }
      flush();
      out.push("</g>");
    };

    const chart = (element, box) => {
      const copy = element.cloneNode(true);
      const from = [...element.querySelectorAll("*")], to = [...copy.querySelectorAll("*")];
      from.forEach((one, at) => {
        const style = getComputedStyle(one);
        for (const name of ["fill", "stroke", "font-size", "text-anchor"]) to[at].setAttribute(name, style[name]);
        to[at].removeAttribute("class");
      });
      copy.querySelectorAll("title").forEach((title) => title.remove());
      copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
      for (const name of ["x", "y", "width", "height"]) copy.setAttribute(name, round(box[name]));
      out.push(new XMLSerializer().serializeToString(copy));
    };

    const frame = (style, box) => {
      const radius = parseFloat(style.borderTopLeftRadius) || 0;
      const all = parseFloat(style.borderRightWidth) ? ` stroke="${style.borderRightColor}"` : "";
      if (!clear(style.backgroundColor) || all)
        out.push(`<rect x="${round(box.x) + 0.5}" y="${round(box.y) + 0.5}" width="${round(box.width - 1)}" height="${round(box.height - 1)}" rx="${radius}" fill="${clear(style.backgroundColor) ? "none" : style.backgroundColor}"${all}/>`);
      const left = parseFloat(style.borderLeftWidth);
      if (left > 1) out.push(`<rect x="${round(box.x)}" y="${round(box.y)}" width="${left}" height="${round(box.height)}" fill="${style.borderLeftColor}"/>`);
    };

    const text = (node) => {
      const style = getComputedStyle(node.parentElement), range = document.createRange();
      const lines = [];
      for (let at = 0; at < node.length; at++) {
        range.setStart(node, at);
        range.setEnd(node, at + 1);
        const [box] = range.getClientRects();
        if (!box) continue;
        const last = lines.at(-1);
        const blank = /\s/.test(node.data[at]);
        if (last && Math.abs(last.y - box.y) < 2) last.text += node.data[at];
        else if (!blank) lines.push({ x: box.x, y: box.y, height: box.height, text: node.data[at] });
        if (!blank) lines.at(-1).end = box.right;
      }
      const size = parseFloat(style.fontSize), named = node.parentElement.closest("h1, h2, .tile span");
      const kind = named ? ` class="${named.tagName === "SPAN" ? "tile" : named.tagName.toLowerCase()}"` : "";
      for (const line of lines) {
        if (line.y > height) continue;
        const base = round(line.y + line.height / 2 + size * 0.35);
        const bold = parseInt(style.fontWeight) >= 600 ? ' font-weight="600"' : "";
        // Fonts differ: a text is as long as it was, so that it does not run into the next.
        const long = `textLength="${round(line.end - line.x)}" lengthAdjust="spacingAndGlyphs"`;
        out.push(`<text${kind} ${long} x="${round(line.x)}" y="${base}" font-size="${size}"${bold} fill="${style.color}">${safe(line.text.trimEnd())}</text>`);
      }
    };

    const visit = (element) => {
      const box = element.getBoundingClientRect(), style = getComputedStyle(element);
      if (box.y > height || style.display === "none") return;
      if (element.tagName === "CANVAS") { canvas(box); return; }
      if (element.tagName === "svg") { chart(element, box); return; }
      frame(style, box);
      for (const node of element.childNodes) {
        if (node.nodeType === Node.TEXT_NODE) text(node);
        else if (node.nodeType === Node.ELEMENT_NODE && !/^(SCRIPT|NOSCRIPT)$/.test(node.tagName)) visit(node);
      }
    };

    visit(document.body);
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif">\n<rect width="100%" height="100%" fill="${getComputedStyle(document.body).backgroundColor}"/>\n${out.join("\n")}\n</svg>\n`;
  },
};
