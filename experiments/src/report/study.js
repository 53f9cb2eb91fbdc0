// Reading values off the figures, and hiding series. The page is complete without it.
const along = ([, , , log], value) => (log ? Math.log10(value) : value);
const place = (axis, value) => (along(axis, value) - axis[1]) / (axis[2] - axis[1]);
const percent = (share) => `${100 * Math.min(1, Math.max(0, share))}%`;

function written(value) {
  if (value === null) return "∞";
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e9)) return value.toExponential(3);
  return Number(value.toPrecision(5)) === value || !Number.isInteger(value)
    ? Number(value.toPrecision(5)).toLocaleString("en", { maximumFractionDigits: 8 })
    : value.toLocaleString("en");
}

function drawn(plot, kind, attributes) {
  const element = document.createElementNS(plot.namespaceURI, kind);
  element.setAttribute("class", "cursor");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.style.display = "none";
  plot.append(element);
  return element;
}

for (const figure of document.querySelectorAll("figure")) {
  const source = figure.querySelector("script");
  if (!source) continue;
  const { x, y, names, series } = JSON.parse(source.textContent);
  const plot = figure.querySelector("svg.plot");
  const curves = plot.querySelector("svg.curves");
  const groups = [...curves.querySelectorAll("g")];
  const output = figure.querySelector("output");
  const line = drawn(plot, "line", { y2: "100%" });
  const dot = drawn(plot, "circle", { r: 5 });
  // Every point by its place in the picture: series, number of the point, x, y, all in 0..=1.
  const spots = series.flatMap(([, , points], s) =>
    Array.from({ length: points.length / 2 }, (_, i) => [
      s, i, place(x, points[2 * i]), 1 - place(y, points[2 * i + 1]),
    ]));
  const hidden = new Set();
  let current = -1; // number of the spot that is shown

  const light = (is) => {
    curves.classList.toggle("dim", is !== null && series.length > 1);
    groups.forEach((group, s) => group.classList.toggle("lit", is !== null && is(s)));
  };

  function show(number) {
    current = number;
    const [s, i, left, top] = spots[number];
    const [name, label, points, ends] = series[s];
    for (const [key, value] of [["x1", left], ["x2", left]]) line.setAttribute(key, percent(value));
    dot.setAttribute("cx", percent(left));
    dot.setAttribute("cy", percent(top));
    line.style.display = dot.style.display = "";
    light((other) => other === s);
    const bold = document.createElement("b");
    bold.textContent = label || names[name];
    const interval = ends.length ? ` [${written(ends[2 * i])}, ${written(ends[2 * i + 1])}]` : "";
    output.replaceChildren(bold,
      ` · ${x[0]} ${written(points[2 * i])} · ${y[0]} ${written(points[2 * i + 1])}${interval}`);
    output.style.minHeight = `${output.offsetHeight}px`; // grows only: what is below must not jump
  }

  function hide() {
    current = -1;
    line.style.display = dot.style.display = "none";
    light(null);
    output.replaceChildren();
  }

  function point(event) {
    const box = plot.getBoundingClientRect();
    let nearest = -1, least = Infinity;
    spots.forEach(([s, , left, top], number) => {
      if (hidden.has(series[s][0])) return;
      const across = box.left + left * box.width - event.clientX;
      const down = box.top + top * box.height - event.clientY;
      const far = across * across + down * down;
      if (far < least) [least, nearest] = [far, number];
    });
    const reach = event.clientY >= box.top - 12 && event.clientY <= box.bottom + 12;
    if (nearest >= 0 && reach) show(nearest); else hide();
  }
  figure.addEventListener("pointermove", point);
  figure.addEventListener("pointerdown", point);
  figure.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") hide(); // a finger has to leave to make room for the eye
  });

  // Left and right: along a series. Up and down: the next one, near the same x.
  plot.setAttribute("tabindex", "0");
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const other = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const seen = (s) => !hidden.has(series[s][0]) && series[s][2].length > 0;
    const first = spots.findIndex(([s]) => seen(s));
    if (first < 0 || (!step && !other && event.key !== "Escape")) return;
    event.preventDefault();
    output.setAttribute("aria-live", "polite");
    if (event.key === "Escape") return hide();
    if (current < 0 || !seen(spots[current][0])) return show(first);
    const [s, , left] = spots[current];
    if (step) {
      const next = spots[current + step];
      if (next && next[0] === s) show(current + step);
      return;
    }
    let to = s;
    do to = (to + other + series.length) % series.length; while (!seen(to));
    let nearest = -1;
    spots.forEach(([of, , at], number) => {
      if (of === to && (nearest < 0 || Math.abs(at - left) < Math.abs(spots[nearest][2] - left))) nearest = number;
    });
    show(nearest);
  });
  plot.addEventListener("blur", () => { output.setAttribute("aria-live", "off"); hide(); });

  // The legend: each entry becomes a button that hides its series, and lights them up when pointed at.
  const entries = [...figure.querySelectorAll("ul.legend li:not(.line)")];
  entries.forEach((entry, name) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(...entry.childNodes);
    entry.append(button);
    const lit = (s) => series[s][0] === name;
    button.addEventListener("click", () => {
      const off = !hidden.delete(name);
      if (off) hidden.add(name);
      button.setAttribute("aria-pressed", String(!off));
      groups.forEach((group, s) => { if (lit(s)) group.classList.toggle("off", off); });
      hide();
    });
    for (const kind of ["pointerenter", "focus"]) button.addEventListener(kind, () => light(lit));
    for (const kind of ["pointerleave", "blur"]) button.addEventListener(kind, () => light(null));
  });
}
