"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  for (const image of document.querySelectorAll("img[data-same]")) {
    image.src = byId(image.dataset.same).src;
  }

  // Search, filter, sort

  const runs = [...document.querySelectorAll(".run")].map((card) => ({
    card,
    // `values` for sorting, with numbers as numbers; `texts` for the filters, as displayed.
    values: JSON.parse(card.dataset.values),
    texts: JSON.parse(card.dataset.texts),
    words: card.dataset.words.toLowerCase(),
  }));
  const tools = byId("tools");
  const filters = [...document.querySelectorAll("select[data-parameter]")];
  const summary = document.querySelector("#filters summary");
  const collator = new Intl.Collator("en", { numeric: true });

  const matches = ({ texts, words }) => {
    const wanted = byId("words").value.toLowerCase().split(/\s+/);
    return (
      wanted.every((word) => words.includes(word)) &&
      filters.every(({ dataset, value }) => !value || texts[dataset.parameter] === value)
    );
  };

  // Missing values come last in both directions.
  const inOrder = (first, second, direction) => {
    if (first === null || second === null) return (first === null) - (second === null);
    const numbers = typeof first === "number" && typeof second === "number";
    return direction * (numbers ? first - second : collator.compare(first, second));
  };

  const update = () => {
    const key = byId("sort").value;
    const direction = byId("descending").checked ? -1 : 1;
    const ordered = [...runs].sort((a, b) => inOrder(a.values[key], b.values[key], direction));
    byId("runs").append(...ordered.map(({ card }) => card));
    for (const run of runs) run.card.hidden = !matches(run);
    const shown = runs.filter(({ card }) => !card.hidden).length;
    byId("status").value = `${shown} of ${runs.length} shown`;
    // The summary names the active filters, so that they show while the drop-downs are folded.
    const active = filters.filter(({ value }) => value);
    const names = active.map(({ dataset, value }) => `${dataset.parameter} ${value}`).join(", ");
    summary.textContent = names ? `Filters: ${names}` : "Filters";
  };

  tools.hidden = false;
  byId("filters").hidden = !filters.length;
  if (matchMedia("(max-width: 40rem)").matches) byId("filters").open = false;
  tools.addEventListener("input", update);
  tools.addEventListener("submit", (event) => event.preventDefault());
  // During this event the controls still hold their old values.
  tools.addEventListener("reset", () => setTimeout(update));
  // A browser may restore the controls when the page is reloaded.
  update();

  const curves = byId("curves");
  const openCurves = () => {
    for (const part of document.querySelectorAll(".curves")) part.open = curves.checked;
  };
  curves.addEventListener("input", openCurves);
  tools.addEventListener("reset", () => setTimeout(openCurves));

  // Two pictures, one over the other

  const [dialog, stage, wipe] = ["compare", "stage", "wipe"].map(byId);
  const sides = { left: byId("over"), right: byId("under") };

  const cut = () => stage.style.setProperty("--cut", `${wipe.value}%`);

  const show = (side) => {
    const chosen = byId(side).selectedOptions[0];
    const source = byId(chosen.value);
    sides[side].src = source.src;
    sides[side].alt = `${side}: ${chosen.text}`;
    // The right picture sets the shape; the left one is fitted into it.
    if (side === "right") {
      stage.style.setProperty("--width", source.getAttribute("width"));
      stage.style.setProperty("--height", source.getAttribute("height"));
    }
  };

  for (const side of ["left", "right"]) byId(side).addEventListener("input", () => show(side));

  for (const button of document.querySelectorAll("button.compare")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      for (const side of ["left", "right"]) {
        // If a run's own pictures are missing, the last choice stays.
        if (button.dataset[side]) byId(side).value = button.dataset[side];
        show(side);
      }
      wipe.value = 50;
      cut();
      dialog.showModal();
      wipe.focus();
    });
  }

  wipe.addEventListener("input", cut);

  const follow = (event) => {
    const { left, width } = stage.getBoundingClientRect();
    wipe.value = (100 * (event.clientX - left)) / width;
    cut();
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) follow(event);
  });
})();
