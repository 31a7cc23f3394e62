// @ts-check
// The stage: the picture and the dream over each other, with as much of each to be seen as one likes.

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/** Shows a picture in one of the two places, or a video in that of the dream. @param {"before" | "after"} place @param {Blob | null} file */
export function show(place, file) {
  const isVideo = file?.type.startsWith("video/") ?? false;
  put($(place), isVideo ? null : file);
  if (place === "before" || file) $("unseen").hidden = true;
  if (place === "after") {
    put($("film"), isVideo ? file : null);
    // A video is no picture to dream on.
    $("again").hidden = isVideo;
  }
}

/** @param {HTMLImageElement | HTMLVideoElement} element @param {Blob | null} file */
function put(element, file) {
  if (element.src) URL.revokeObjectURL(element.src);
  element.hidden = !file;
  if (file) element.src = URL.createObjectURL(file);
  else element.removeAttribute("src");
}

/** An image of a file that stays as it is; the file's address ends once it is read. @param {Blob} file @param {string} alt */
export function pictureOf(file, alt) {
  const image = Object.assign(document.createElement("img"), { alt, src: URL.createObjectURL(file) });
  image.onload = image.onerror = () => URL.revokeObjectURL(image.src);
  return image;
}

/** Shows the dream. @param {Blob} file */
export function reveal(file) {
  show("after", file);
  compare();
}

/** Offers to compare where there are both pictures. */
export function compare() {
  $("compare").hidden = $("before").hidden || $("after").hidden;
  splitAsSaid();
}

/** Shows the original in so many per cent from the left. @param {number} percent */
export function split(percent) {
  $("frame").style.setProperty("--split", `${percent}%`);
}

/** As much of the original as the slider says. */
export const splitAsSaid = () => split($("compare").hidden ? 0 : Number($("split").value));

$("split").oninput = splitAsSaid;
