// The grid of views that the network was trained on.

function startGrids() {
  const numbers = Object.keys(content.grids).map(Number);
  if (numbers.length === 0) return;
  drawGrid(numbers[0]);
  document.querySelectorAll(".looks-run").forEach((place) => {
    const shown = place.closest("#views") ? numbers : WITH_LOOKS;
    choice(place, shown.map((number) => content.runs[number].name), 0, (number) => {
      if (place.closest("#views")) drawGrid(shown[number]);
      else {
        at.run = shown[number];
        startLooks();
        drawMap();
        if (seen().classes) drawConfusion();
      }
    });
  });
}

function drawGrid(number) {
  const grid = content.grids[number];
  const host = byId("view-grid");
  const side = grid.pixelated ? grid.side * Math.max(1, Math.round(100 / grid.side)) : Math.max(100, grid.side);
  host.style.gridTemplateColumns = `repeat(${grid.columns}, minmax(36px, ${side}px))`;
  host.replaceChildren();
  for (let column = 0; column < grid.columns; column++) {
    host.append(make("div", "heading", column === 0 ? "image" : column % 2 ? "T" : "T′"));
  }
  const share = (position, count) => (count > 1 ? (100 * position) / (count - 1) : 0);
  grid.words.forEach((words, tile) => {
    const view = make("div", `view grid-${number}${grid.pixelated ? " pixelated" : ""}`);
    view.style.backgroundSize = `${grid.columns * 100}% ${grid.rows * 100}%`;
    view.style.backgroundPosition = `${share(tile % grid.columns, grid.columns)}% ${share(Math.floor(tile / grid.columns), grid.rows)}%`;
    view.title = words;
    const tell = () => (byId("view-words").textContent = words);
    view.addEventListener("pointerenter", tell);
    view.addEventListener("click", tell);
    host.append(view);
  });
}
