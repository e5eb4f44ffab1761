// The start of the page, and the look of plots.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(hover: none)").matches;
const atPlots = []; // functions that draw again in other colours

/** Text for plotly, which reads a little HTML. */
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function layout(more = {}) {
  const axis = {
    gridcolor: css("--grid"), zerolinecolor: css("--grid"), linecolor: css("--line"), tickcolor: css("--line"),
    automargin: true, fixedrange: touch, tickfont: { size: 11 }, exponentformat: "power", separatethousands: true,
  };
  return {
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", showlegend: false, dragmode: touch ? false : "zoom",
    font: { family: getComputedStyle(document.body).fontFamily, color: css("--soft"), size: 12 },
    margin: { l: 8, r: 8, t: 6, b: 8 },
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--text"), size: 12 }, align: "left" },
    ...more, xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
  };
}

const CONFIG = { displaylogo: false, responsive: true, displayModeBar: false };

/** Starts the plotting library, which lies compressed in the page. */
async function startLibrary() {
  const packed = Uint8Array.from(atob(byId("library").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = make("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

addEventListener("DOMContentLoaded", async () => {
  document.querySelectorAll("[data-run]").forEach((card) => card.style.setProperty("--run", colour(Number(card.dataset.run))));
  if (content.sheet !== null) startLooks();
  startGrids();
  try {
    await startLibrary();
  } catch (error) {
    byId("charts").append(make("p", "note", `The charts need a browser of 2023 or later (${error}).`));
    return;
  }
  startCurves();
  startStudies();
  if (content.sheet !== null) startPlots();
  dark.addEventListener("change", () => atPlots.forEach((draw) => draw()));
  document.body.dataset.ready = "yes";
});
