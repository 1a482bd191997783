"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dialog = document.getElementById("panel");
  const AT_ONCE = 120;

  function el(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value !== false && value !== null) node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  const plain = (name) => name.replaceAll("_", " ").replaceAll("*", " and ");

  function picture(number) {
    const [row, index, , prompt, , file, embedded, veiled] = data.pictures[number];
    const shown = document.querySelector(`#i${number} img`);
    if (!file) return el("div", { class: "missing" }, "no picture: the model gave NaN or infinity");
    if (embedded && !shown) return el("div", { class: "missing" }, "the file is missing or broken");
    // a picture that the page does not hold can be seen while the page lies in the run directory
    const source = shown ? shown.src : file.split("/").map(encodeURIComponent).join("/");
    const image = el("img", { src: source, alt: `${prompt}, picture ${index}`, loading: "lazy", decoding: "async" });
    const box = veiled ? el("label", { class: "frame veiled" }) : el("div", { class: "frame" });
    if (veiled) box.append(el("input", { type: "checkbox", "aria-label": "show this picture, which may be unsafe" }));
    box.append(image);
    if (veiled) box.append(el("span", { class: "hint" }, "may be unsafe"));
    image.addEventListener("error", () => box.replaceWith(el("div", { class: "missing" }, `in the run directory: ${file}`)));
    return box;
  }

  function verdict(number, concept) {
    const verdicts = data.pictures[number][8];
    const lines = [];
    for (const name of concept === null ? Object.keys(verdicts) : [concept]) {
      if (!verdicts[name]) continue;
      const [label, probabilities, reason] = verdicts[name];
      const classes = data.classes[name] || ["probability"];
      const sure = probabilities.map((p, k) => `${plain(classes[k] || String(k))} ${p.toFixed(2)}`).join(", ");
      lines.push(el("span", null, el("b", null, label === null ? `abstained${reason ? `: ${reason}` : ""}` : `perceived ${plain(label)}`)));
      if (sure) lines.push(el("span", null, sure));
    }
    return lines;
  }

  function figure(number, concept) {
    const [, index, seed, prompt, assigned] = data.pictures[number];
    const caption = el("figcaption", null, ...verdict(number, concept));
    if (assigned !== null) caption.append(el("span", null, `assigned ${plain(assigned)}`));
    caption.append(el("span", { class: "head" }, `#${index} ${prompt}`), el("span", { class: "seed" }, `seed ${seed}`));
    return el("figure", null, picture(number), caption);
  }

  function group([title, kind, numbers], concept, open) {
    const details = el("details", { class: kind, open });
    const grid = el("div", { class: "grid" });
    details.append(el("summary", null, `${title} (${numbers.length})`), grid);
    const fill = () => {
      if (details.open && !grid.childElementCount) grid.append(...numbers.map((number) => figure(number, concept)));
    };
    details.addEventListener("toggle", fill);
    fill();
    return details;
  }

  function hide() {
    // at once and not on the "close" event, which may come after another panel was opened
    if (known(named())) history.replaceState(null, "", location.pathname + location.search);
    dialog.close();
  }

  function show(identifier) {
    const [title, number, note, concept, set] = data.panels[identifier];
    const groups = data.sets[set];
    const total = groups.reduce((sum, [, , numbers]) => sum + numbers.length, 0);
    const close = el("button", { type: "button" }, "Close");
    close.addEventListener("click", hide);
    const head = el("div", { class: "panel-head" }, el("h2", { id: "panel-title" }, title), close, el("p", null, number), el("p", { class: "soft" }, note));
    const body = el("div", { class: "panel-body" });
    groups.forEach((one, position) => body.append(group(one, concept, total <= AT_ONCE || position === 0)));
    if (!total) body.append(el("p", null, "No picture lies behind this number."));
    dialog.replaceChildren(head, body);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  const named = () => decodeURIComponent(location.hash.slice(1));
  const known = (identifier) => Object.hasOwn(data.panels, identifier);

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    const identifier = link && link.getAttribute("href").slice(1);
    if (!link || !known(identifier) || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", `#${identifier}`);
    show(identifier);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) hide();
  });
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    hide();
  });
  window.addEventListener("popstate", () => {
    if (known(named())) show(named());
    else if (dialog.open) dialog.close();
  });
  if (known(named())) show(named());
})();
