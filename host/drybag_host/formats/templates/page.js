"use strict";
(function () {
  const box = document.getElementById("search");
  const entries = Array.from(document.querySelectorAll("[data-find]"));
  const groups = Array.from(document.querySelectorAll("section, details, .day"));
  const folds = Array.from(document.querySelectorAll("details"));
  const wasOpen = folds.map(function (d) { return d.open; });
  document.documentElement.classList.add("js");

  // The export folded the texts the same way: no case, no accents.
  function fold(text) {
    return text.normalize("NFD").replace(/[\u0300-\u036f]/g, "").toLowerCase()
      .replace(/\u00df/g, "ss").replace(/\u00e6/g, "ae").replace(/\u0153/g, "oe")
      .replace(/\u00f8/g, "o").replace(/\u0142/g, "l").replace(/[\u0111\u00f0]/g, "d")
      .replace(/\u0131/g, "i").replace(/\u00fe/g, "th").replace(/\u03c2/g, "\u03c3");
  }

  function filter() {
    const words = fold(box.value).split(/\s+/).filter(Boolean);
    const digits = /^[\d+\-()./\s]+$/.test(box.value)
      ? box.value.replace(/\D/g, "").replace(/^0+/, "") : "";
    for (const entry of entries) {
      const text = entry.dataset.find;
      entry.hidden = !(words.every(function (w) { return text.includes(w); }) ||
        (digits.length > 2 && text.includes(digits)));
    }
    for (const group of groups) {
      const own = group.querySelectorAll("[data-find]");
      const shown = group.querySelectorAll("[data-find]:not([hidden])").length;
      group.hidden = words.length > 0 && own.length > 0 && shown === 0;
      const count = group.querySelector(":scope > h2 span, :scope > summary span");
      if (count && own.length) count.textContent = shown;
    }
    folds.forEach(function (d, i) { d.open = words.length > 0 || wasOpen[i]; });
  }

  box.addEventListener("input", filter);
  document.addEventListener("keydown", function (event) {
    if (event.key === "/" && document.activeElement !== box) {
      event.preventDefault();
      box.focus();
    }
  });
  window.addEventListener("beforeprint", function () {
    folds.forEach(function (d) { d.open = true; });
  });
})();
