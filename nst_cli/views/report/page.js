"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  for (const image of document.querySelectorAll("img[data-same]")) {
    image.src = byId(image.dataset.same).src;
  }

  // Search, filters, order

  const runs = [...document.querySelectorAll(".run")].map((card) => ({
    card,
    // Numbers where they are numbers, for the order; texts as they are shown, for the filters.
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

  // What has no value stands last, in either direction.
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
    // What is chosen stays told when its drop-downs are folded away.
    const chosen = filters.filter(({ value }) => value);
    const told = chosen.map(({ dataset, value }) => `${dataset.parameter} ${value}`).join(", ");
    summary.textContent = told ? `Filters: ${told}` : "Filters";
  };

  tools.hidden = false;
  byId("filters").hidden = !filters.length;
  if (matchMedia("(max-width: 40rem)").matches) byId("filters").open = false;
  tools.addEventListener("input", update);
  tools.addEventListener("submit", (event) => event.preventDefault());
  // While this event is under way, the controls still hold what they held.
  tools.addEventListener("reset", () => setTimeout(update));
  // A browser may have kept what was chosen before the page was loaded anew.
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
    // The right picture gives the shape; another shape is fitted into it.
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
        // A run whose own pictures are gone is compared with whatever was chosen last.
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
