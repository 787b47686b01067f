"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const button = byId("stop").querySelector("button");
  // After this many answers that did not come, nst has ended.
  const patience = 3;
  let missed = 0;
  let ended = false;
  let shown = 0;

  const show = (data) => {
    byId("text").textContent = data.text;
    byId("share").value = data.share;
    byId("curves").innerHTML = data.curves;
    button.disabled = data.stopping || data.ended;
    ended = data.ended;
    byId("share").hidden = ended;
    byId("stop").hidden = ended;
    if (data.picture > shown) {
      shown = data.picture;
      byId("picture").src = `picture?${shown}`;
      byId("picture").hidden = false;
      byId("none").hidden = true;
    }
  };

  const poll = async () => {
    try {
      const answer = await fetch("data");
      if (!answer.ok) throw new Error(answer.statusText);
      show(await answer.json());
      missed = 0;
    } catch {
      missed += 1;
    }
    if (missed >= patience) {
      ended = true;
      byId("share").hidden = true;
      byId("stop").hidden = true;
      byId("text").textContent = "nst has ended; its last lines in the terminal say how.";
    }
    if (!ended) setTimeout(poll, 1000);
  };

  byId("stop").addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const answer = await fetch("stop", { method: "POST" });
      if (!answer.ok) throw new Error(answer.statusText);
      byId("text").textContent = "Stopping after this step.";
    } catch {
      button.disabled = false;
    }
  });

  poll();
})();
