"use strict";
(() => {
  const tips = JSON.parse(document.getElementById("tips").textContent);
  const tip = document.getElementById("tip"), said = document.getElementById("said");
  const root = document.documentElement;
  const words = JSON.parse(root.dataset.words || "{}"), say = (text) => words[text] || text;

  // Light and dark: the system's choice until somebody presses the button.
  const theme = document.getElementById("theme"), dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const name = () => { theme.textContent = isDark() ? say("Light") : say("Dark"); };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); });
  dark.addEventListener("change", name);
  name();

  // What a mark says: beside the pointer, and aloud when the keys walk there.
  let lit = [];
  const clear = () => { for (const mark of lit) mark.classList.remove("on"); lit = []; tip.hidden = true; };
  const show = (svg, mark, x, y) => {
    const lines = tips[mark.dataset.k];
    if (!lines) return;
    if (lit[0] !== mark) {
      clear();
      lit = [mark, ...svg.querySelectorAll(`[data-k="${CSS.escape(mark.dataset.k)}"]`)];
      for (const one of lit) one.classList.add("on");
      tip.replaceChildren(...lines.filter(Boolean).map((line) => {
        const part = document.createElement("div");
        part.dir = "auto";
        part.textContent = line;
        return part;
      }));
    }
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(x + 16, innerWidth - box.width - 8)) + "px";
    tip.style.top = (y + 20 + box.height > innerHeight ? Math.max(8, y - box.height - 12) : y + 20) + "px";
  };
  const places = (mark) => {
    if (mark.tagName === "circle") return [[+mark.getAttribute("cx"), +mark.getAttribute("cy")]];
    return mark.getAttribute("d").slice(1).split("L").map((pair) => pair.split(" ").map(Number));
  };
  // The distance from a point to the segment between two others, squared.
  const near = (px, py, [ax, ay], [bx, by]) => {
    const dx = bx - ax, dy = by - ay, size = dx * dx + dy * dy;
    const share = size ? Math.max(0, Math.min(1, ((px - ax) * dx + (py - ay) * dy) / size)) : 0;
    return (px - ax - share * dx) ** 2 + (py - ay - share * dy) ** 2;
  };
  for (const svg of document.querySelectorAll("svg[data-walk]")) {
    let found = null;
    const marks = () => (found ??= [...svg.querySelectorAll("[data-k]")].map((mark) => ({ mark, at: places(mark) })));
    const nearest = (event) => {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let best = null, least = 18 ** 2;
      for (const { mark, at } of marks()) {
        for (let i = 0; i < at.length; i++) {
          const far = near(point.x, point.y, at[i], at[Math.min(i + 1, at.length - 1)]);
          if (far < least) { least = far; best = mark; }
        }
      }
      return best;
    };
    const point = (event) => {
      const mark = nearest(event);
      if (mark) show(svg, mark, event.clientX, event.clientY); else clear();
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", clear);
    let at = -1;
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") { clear(); return; }
      if (!step) return;
      event.preventDefault();
      // From the best on: the drawing has them last, on top of all others.
      const all = marks(), many = all.length;
      at = at < 0 ? (step > 0 ? 0 : many - 1) : (at + step + many) % many;
      const { mark, at: where } = all[many - 1 - at], [x, y] = where[where.length - 1];
      const place = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
      show(svg, mark, place.x, place.y);
      said.textContent = (tips[mark.dataset.k] || []).filter(Boolean).join(say("; "));
    });
    svg.addEventListener("blur", clear);
  }
  addEventListener("scroll", clear, { passive: true });

  // Texts to copy; a page from disk may not use the clipboard of newer browsers.
  const copied = async (text) => {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* the older way */ }
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  };
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const done = await copied(button.closest(".copy").querySelector("code").textContent);
      button.textContent = done ? say("Copied") : say("Press Ctrl+C");
      button.focus();
      setTimeout(() => { button.textContent = say("Copy"); }, 1600);
    });
  }

  // The rest of a long table on request.
  for (const rest of document.querySelectorAll("tbody.more")) {
    const many = rest.rows.length, button = document.createElement("button");
    button.type = "button";
    const fold = (shut) => {
      rest.classList.toggle("folded", shut);
      button.textContent = shut ? say("Show {n} more").replace("{n}", many.toLocaleString("en")) : say("Show fewer");
      button.setAttribute("aria-expanded", String(!shut));
    };
    fold(true);
    button.addEventListener("click", () => fold(!rest.classList.contains("folded")));
    rest.closest(".scroll").after(button);
  }

  // A click on a column's name sorts by it.
  const value = (cell) => {
    const number = parseFloat(cell.replace(/,/g, "").replace("\u2212", "-"));
    return Number.isNaN(number) ? null : number;
  };
  for (const table of document.querySelectorAll("table[data-sort]")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const bodies = [...table.tBodies], sizes = bodies.map((body) => body.rows.length);
        const text = (row) => row.cells[column].textContent.replace(/^#/, "");
        const rows = bodies.flatMap((body) => [...body.rows]).sort((one, two) => {
          const a = text(one), b = text(two);
          if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1);
          const x = value(a), y = value(b);
          return (up ? 1 : -1) * (x !== null && y !== null ? x - y : a.localeCompare(b));
        });
        let from = 0;
        bodies.forEach((body, i) => { body.append(...rows.slice(from, from + sizes[i])); from += sizes[i]; });
      });
    });
  }
})();
