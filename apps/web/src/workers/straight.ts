/** Pixels of a transparent photo as they are stored. A 2D canvas multiplies colour by alpha in 8 bits and divides again:
 * where alpha is low, colour is lost. A texture keeps it. */

import type { Photo } from "../core/pixels";

/** Straight RGBA of a bitmap that was decoded without premultiplication, row by row from the top; null where there is no
 * WebGL, or none for a photo so large. */
export function straightPixels(bitmap: ImageBitmap): Photo["rgba"] | null {
  const { width, height } = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext("webgl2", { antialias: false, depth: false });
  if (gl === null) return null;
  try {
    if (Math.max(width, height) > (gl.getParameter(gl.MAX_TEXTURE_SIZE) as number)) return null;
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) return null;
    const rgba = new Uint8ClampedArray(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
    return gl.getError() === gl.NO_ERROR ? rgba : null;
  } finally {
    gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

/** Whether `straight` are the pixels that a canvas gave as `rounded`: equal alpha, and colours as near as its rounding. A
 * driver that converts colours or turns rows must not change the photo. */
export function isSamePhoto(straight: Uint8ClampedArray, rounded: Uint8ClampedArray): boolean {
  if (straight.length !== rounded.length) return false;
  for (let i = 0; i < straight.length; i += 4) {
    const alpha = straight[i + 3] as number;
    if (alpha !== rounded[i + 3]) return false;
    for (let c = i; c < i + 3; c += 1) {
      if (Math.abs((straight[c] as number) - (rounded[c] as number)) * alpha > 2 * 255) return false;
    }
  }
  return true;
}
