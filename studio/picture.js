// @ts-check
// Pictures before they are sent. A phone's photo has twelve megapixels, on which a network sees confetti instead of animals, and
// the upload takes longer than the dream.

const QUALITY = 0.95;

/**
 * The picture with its longer edge at `edge` pixels; as it is where it is no longer, where `edge` is 0, and where the browser
 * cannot read it: the server may.
 * @param {Blob} file
 * @param {number} edge
 * @returns {Promise<Blob>}
 */
export async function smaller(file, edge) {
  if (!edge) return file;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return file;
  }
  const scale = edge / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  if (!context) return file;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  // Transparency would be lost in a JPEG.
  const kind = file.type === "image/jpeg" ? "image/jpeg" : "image/png";
  return new Promise((resolve) => canvas.toBlob((small) => resolve(small ?? file), kind, QUALITY));
}

/**
 * The size that a picture of this one will have with its longer edge at `edge` pixels.
 * @param {{ naturalWidth: number, naturalHeight: number }} image
 * @param {number} edge 0: as it is
 */
export function sizeAt({ naturalWidth, naturalHeight }, edge) {
  const scale = edge ? Math.min(1, edge / Math.max(naturalWidth, naturalHeight, 1)) : 1;
  const side = (/** @type {number} */ length) => Math.max(1, Math.round(length * scale));
  return { width: side(naturalWidth), height: side(naturalHeight) };
}
