// @ts-check
// A brush: where it has painted, the dream may grow. A canvas lies over the picture and holds what was painted.

/** Longest edge of what is painted on, in pixels. */
const LONGEST = 1024;

/**
 * @param {HTMLCanvasElement} canvas over the picture
 * @param {HTMLImageElement} picture
 * @param {HTMLInputElement} brush its value: the width of the brush, in hundredths of the picture's longer edge
 */
export function startMask(canvas, picture, brush) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  let painted = false;
  /** @type {{ x: number, y: number } | null} */
  let last = null;

  /** Where a pointer is, in the canvas's pixels: the picture is as large as fits, in the middle. @param {PointerEvent} event */
  function place(event) {
    const box = canvas.getBoundingClientRect();
    const scale = Math.min(box.width / canvas.width, box.height / canvas.height);
    return {
      x: (event.clientX - box.left - (box.width - canvas.width * scale) / 2) / scale,
      y: (event.clientY - box.top - (box.height - canvas.height * scale) / 2) / scale,
    };
  }

  /** @param {PointerEvent} event */
  function stroke(event) {
    const here = place(event);
    const from = last ?? here;
    context.lineWidth = (Math.max(canvas.width, canvas.height) * Number(brush.value)) / 100;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = "#7c5cff";
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(here.x + 0.01, here.y);
    context.stroke();
    last = here;
    painted = true;
  }

  canvas.onpointerdown = (event) => {
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    last = null;
    stroke(event);
  };
  canvas.onpointermove = (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) stroke(event);
  };
  canvas.onpointerup = canvas.onpointercancel = () => (last = null);

  /** Wipes it, for the picture that is shown now. */
  function clear() {
    const scale = Math.min(1, LONGEST / Math.max(picture.naturalWidth, picture.naturalHeight, 1));
    canvas.width = Math.max(1, Math.round(picture.naturalWidth * scale));
    canvas.height = Math.max(1, Math.round(picture.naturalHeight * scale));
    painted = false;
  }

  clear();
  return {
    clear,
    /** Whether something was painted. */
    isPainted: () => painted,
    /**
     * A PNG of this size, white where it was painted.
     * @param {number} width
     * @param {number} height
     * @returns {Promise<Blob | null>}
     */
    file(width, height) {
      const sheet = Object.assign(document.createElement("canvas"), { width, height });
      const paper = /** @type {CanvasRenderingContext2D} */ (sheet.getContext("2d"));
      paper.drawImage(canvas, 0, 0, width, height);
      paper.globalCompositeOperation = "source-in";
      paper.fillStyle = "#fff";
      paper.fillRect(0, 0, width, height);
      paper.globalCompositeOperation = "destination-over";
      paper.fillStyle = "#000";
      paper.fillRect(0, 0, width, height);
      return new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
    },
  };
}
