(() => {
  const bar = document.getElementById("filters");
  const buttons = [...bar.querySelectorAll("button")];
  const select = bar.querySelector("select");
  const cards = [...document.querySelectorAll(".card")];
  let kind = "";

  function fits(row) {
    return (!kind || row.dataset.kind === kind) &&
      (!select.value || row.dataset.categories.split(" ").includes(select.value));
  }

  function show(newKind) {
    kind = newKind;
    const everything = !kind && !select.value;
    for (const card of cards) {
      const rows = [...card.querySelectorAll("tr[data-kind]")];
      for (const row of rows) row.classList.toggle("other", !fits(row));
      card.hidden = !everything && !rows.some(fits);
    }
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    }
    const left = cards.filter(card => !card.hidden).length;
    bar.querySelector("output").textContent = left + " of " + cards.length + " images";
  }

  for (const button of buttons) button.addEventListener("click", () => show(button.dataset.kind));
  select.addEventListener("change", () => show(kind));
  for (const link of document.querySelectorAll("a[data-show]")) {
    link.addEventListener("click", () => { select.value = ""; show(link.dataset.show); });
  }
  for (const link of document.querySelectorAll("a[data-category]")) {
    link.addEventListener("click", () => { select.value = link.dataset.category; show(""); });
  }
  // A link to an image leads there even if a filter hides it.
  for (const link of document.querySelectorAll('a[href^="#card-"]')) {
    link.addEventListener("click", () => {
      if (document.querySelector(link.getAttribute("href")).hidden) { select.value = ""; show(""); }
    });
  }
  bar.hidden = cards.length === 0;
  show("");
})();
