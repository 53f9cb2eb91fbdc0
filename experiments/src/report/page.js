// Reading values off the charts. The page is complete without it.
const figures = [...document.querySelectorAll("figure")].map((figure) => ({
  figure,
  output: figure.querySelector("output"),
  plots: [...figure.querySelectorAll("svg.plot")].map((svg) => {
    const cursor = document.createElementNS(svg.namespaceURI, "line");
    cursor.setAttribute("class", "cursor");
    cursor.setAttribute("y2", "100%");
    cursor.style.display = "none";
    svg.append(cursor);
    return { svg, cursor, log: svg.classList.contains("log"), last: Number(svg.dataset.last) };
  }),
  curves: JSON.parse(figure.querySelector("script").textContent),
}));

// The same two formulas as the axis, there and back.
const position = ({ log, last }, step) =>
  !log ? step / last : step === 0 ? 0 : (Math.log10(step) + 0.5) / (Math.log10(last) + 0.5);
const stepAt = ({ log, last }, x) => {
  if (!log) return x * last;
  const first = 0.5 / (Math.log10(last) + 0.5);
  return x < first / 2 ? 0 : 10 ** (x * (Math.log10(last) + 0.5) - 0.5);
};

function nearest(points, step) {
  let low = 0, high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < step) low = middle + 1; else high = middle;
  }
  return low > 0 && step - points[low - 1][0] < points[low][0] - step ? points[low - 1] : points[low];
}

function show(step) {
  const whole = (n) => n.toLocaleString("en");
  for (const { output, plots, curves } of figures) {
    for (const plot of plots) {
      const at = `${100 * position(plot, step)}%`;
      plot.cursor.setAttribute("x1", at);
      plot.cursor.setAttribute("x2", at);
      plot.cursor.style.display = "";
    }
    output.textContent = `step ${whole(step)}`;
    for (const [name, points] of curves) {
      const [when, value] = nearest(points, step);
      const bold = document.createElement("b");
      bold.textContent =
        value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(3) : Number(value.toPrecision(5));
      output.append(name ? ` · ${name} ` : " · ", bold, when === step ? "" : ` (at ${whole(when)})`);
    }
    output.style.minHeight = `${output.offsetHeight}px`; // grows only: the charts below must not jump
  }
}

function hide() {
  for (const { output, plots } of figures) {
    output.textContent = "";
    for (const { cursor } of plots) cursor.style.display = "none";
  }
}

for (const { figure, plots, curves } of figures) {
  figure.addEventListener("pointermove", (event) => {
    const plot = plots.find(({ svg }) => svg.getClientRects().length > 0);
    const box = plot.svg.getBoundingClientRect();
    const x = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const wanted = stepAt(plot, x);
    const steps = curves.map(([, points]) => nearest(points, wanted)[0]);
    steps.sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted));
    show(steps[0]);
  });
  figure.addEventListener("pointerleave", hide);
}
