// @ts-check
// The recipe that a dream carries: how it was made. PNG: an iTXt chunk; JPEG and WebP: an XMP packet. It may come from anyone, so it
// is data and never markup, and the form takes from it only numbers and words that it knows.

/** Longest recipe in bytes; a spec is a few hundred. */
const LONGEST = 100_000;

const PNG = [0x89, 0x50, 0x4e, 0x47];
const KEYWORD = "iTXtreverie\0\0\0\0\0";
const ATTRIBUTE = 'reverie:recipe="';
const XML = /** @type {[string, string][]} */ ([["&quot;", '"'], ["&gt;", ">"], ["&lt;", "<"], ["&amp;", "&"]]);

/**
 * The spec in a picture's recipe; null where there is none.
 * @param {Blob} file
 * @returns {Promise<Record<string, any> | null>}
 */
export async function recipeOf(file) {
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const text = PNG.every((byte, index) => bytes[index] === byte) ? inPng(bytes) : inXmp(bytes);
    const spec = text && JSON.parse(text).spec;
    return typeof spec === "object" && !Array.isArray(spec) ? spec : null;
  } catch {
    return null;
  }
}

/** @param {Uint8Array} bytes */
const latin = (bytes) => new TextDecoder("latin1").decode(bytes);

/** @param {Uint8Array} bytes */
function inPng(bytes) {
  const view = new DataView(bytes.buffer);
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    if (length > KEYWORD.length - 4 && length <= LONGEST && at + 8 + length <= bytes.length) {
      const chunk = bytes.subarray(at + 4, at + 8 + length);
      if (latin(chunk.subarray(0, KEYWORD.length)) === KEYWORD) {
        return new TextDecoder().decode(chunk.subarray(KEYWORD.length));
      }
    }
    at += length + 12;
  }
  return null;
}

/** @param {Uint8Array} bytes */
function inXmp(bytes) {
  // In a JPEG it stands before the picture, in a WebP behind it.
  const text = latin(bytes);
  const at = text.indexOf(ATTRIBUTE);
  const end = at < 0 ? -1 : text.indexOf('"', at + ATTRIBUTE.length);
  if (end < 0 || end - at > LONGEST) return null;
  const escaped = new TextDecoder().decode(bytes.subarray(at + ATTRIBUTE.length, end));
  return XML.reduce((rest, [name, plain]) => rest.replaceAll(name, plain), escaped);
}
