import { encodeBase64 } from './digest';
import { ILimits } from './limits';
import { IAttachment } from './tokens';

/** Names of image files. */
export const IMAGE_FILE = /\.(png|jpe?g|webp|gif|bmp|tiff?)$/i;

/** Formats that every kernel reads as they are. */
const KEPT = new Set(['image/png', 'image/jpeg', 'image/webp', 'image/gif']);

/**
 * An image file as it is put into a cell: as it is, or scaled down where it is larger than a
 * vision encoder can use and a message may be.
 *
 * @throws When the browser cannot read it.
 */
export async function prepare(file: Blob, name: string, limits: ILimits): Promise<IAttachment> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' });
  } catch {
    throw new Error(
      `${name} cannot be read as an image (expected PNG, JPEG, WebP or GIF; it has ` +
        `${file.size} bytes and says it is ${file.type || 'of no type'}). It was not inserted.`
    );
  }
  try {
    const scale = Math.min(1, limits.imageSide / Math.max(bitmap.width, bitmap.height));
    if (scale === 1 && KEPT.has(file.type) && file.size <= limits.imageBytes) {
      return await attachment(file);
    }
    return await attachment(await smaller(bitmap, scale, file.type, limits.imageBytes));
  } finally {
    bitmap.close();
  }
}

/** A name for an image that no other image in the notebook has. */
export function unusedName(
  name: string,
  data: string,
  digest: string,
  known: (name: string) => string | undefined
): string {
  const clean = name.replace(/[\x00-\x1f\\/<>]/g, '_') || 'image.png';
  // Whatever comes from a clipboard is called image.png.
  if (clean !== 'image.png' && [undefined, data].includes(known(clean))) {
    return clean;
  }
  const dot = clean.lastIndexOf('.');
  const [stem, suffix] = dot > 0 ? [clean.slice(0, dot), clean.slice(dot)] : [clean, ''];
  return `${stem}-${digest.slice(0, 8)}${suffix}`;
}

async function smaller(
  bitmap: ImageBitmap,
  scale: number,
  mime: string,
  limit: number
): Promise<Blob> {
  for (;;) {
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const context = canvas.getContext('2d');
    if (context === null) {
      throw new Error('this browser cannot scale images');
    }
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    // Drawings stay sharp as PNG; photographs become too large.
    for (const type of mime === 'image/jpeg' ? ['image/jpeg'] : ['image/png', 'image/webp']) {
      const blob = await new Promise<Blob | null>(done => canvas.toBlob(done, type, 0.9));
      if (blob !== null && blob.size <= limit) {
        return blob;
      }
    }
    scale *= 0.8;
  }
}

async function attachment(blob: Blob): Promise<IAttachment> {
  return { mime: blob.type, data: encodeBase64(new Uint8Array(await blob.arrayBuffer())) };
}
