// Findings of an audit: pictures with what was found about them.

const SIDE = 96; // pixels

function drawItem({ images, caption, detail }) {
  const figure = make("figure", "pair");
  const pictures = make("div", "thumbs");
  images.forEach((point) => {
    const picture = thumb(point, SIDE, "span");
    picture.title = [content.points.names[point], className(point)].filter(Boolean).join("\n");
    pictures.append(picture);
  });
  const text = make("figcaption", "", caption);
  text.style.width = `${SIDE * images.length + 3 * (images.length - 1)}px`;
  figure.title = detail;
  figure.append(pictures, text);
  return figure;
}

addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-section]").forEach((card) => {
    card.replaceChildren(...content.sections[Number(card.dataset.section)].shown.map(drawItem));
  });
  document.body.dataset.ready = "yes";
});
