/** What a paste or a drop carries. */

import { Contents } from '@jupyterlab/services';
import { Drag } from '@lumino/dragdrop';

const FROM_BROWSER = 'application/x-jupyter-icontentsrich';

export interface IImageFile {
  name: string;
  blob: Blob;
}

/** An image that the kernel can load and this page cannot: another server forbids it. */
export interface IImageAddress {
  address: string;
}

/** The image files of a paste or a drop. */
export function imageFiles(transfer: DataTransfer | null): IImageFile[] {
  return Array.from(transfer?.files ?? [])
    .filter(file => file.type.startsWith('image/'))
    .map(file => ({ name: file.name, blob: file }));
}

/** Whether text was copied: spreadsheets and word processors add a picture of it. */
export function isText(transfer: DataTransfer | null): boolean {
  return !!transfer?.getData('text/plain') && !!html(transfer).body.textContent?.trim();
}

/** The address of the image that is dragged from a web page, if nothing but one image is. */
export function imageAddress(transfer: DataTransfer | null): string | null {
  const page = html(transfer);
  const [image, ...others] = page.images;
  const alone = image !== undefined && others.length === 0 && !page.body.textContent?.trim();
  const source = alone ? image.getAttribute('src') : null;
  return source !== null && /^(https?:|data:image\/)/.test(source) ? source : null;
}

function html(transfer: DataTransfer | null): Document {
  return new DOMParser().parseFromString(transfer?.getData('text/html') ?? '', 'text/html');
}

/** The image at an address, where this page may read it. */
export async function loaded(address: string): Promise<IImageFile | IImageAddress> {
  try {
    const blob = await (await fetch(address)).blob();
    if (blob.type.startsWith('image/')) {
      const name = /^data:/.test(address) ? '' : (new URL(address).pathname.split('/').pop() ?? '');
      return { name: /\.\w+$/.test(name) ? name : 'image.png', blob };
    }
  } catch {
    // The address is kept.
  }
  return { address };
}

/** The image that is dragged from JupyterLab's file browser, to be loaded. */
export function dragged(event: Event): (() => Promise<IImageFile>) | null {
  const data = (event as Drag.Event).mimeData;
  if (!data?.hasData(FROM_BROWSER)) {
    return null;
  }
  const file = data.getData(FROM_BROWSER) as {
    model: Contents.IModel;
    withContent: () => Promise<Contents.IModel>;
  };
  if (!file.model.mimetype?.startsWith('image/')) {
    return null;
  }
  return async () => {
    const { name, mimetype, content } = await file.withContent();
    const answer = await fetch(`data:${mimetype};base64,${String(content).replace(/\s/g, '')}`);
    return { name, blob: await answer.blob() };
  };
}
