/** What a paste or a drop carries. */

import { Contents } from '@jupyterlab/services';
import { Drag } from '@lumino/dragdrop';
import { IMAGE_FILE } from './images';
import { decoded } from './source';

/** What JupyterLab's file browser says of a drag: one of the files, and the paths of all. */
const ONE = 'application/x-jupyter-icontentsrich';
const ALL = 'application/x-jupyter-icontents';

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
      const path = /^data:/.test(address) ? '' : new URL(address).pathname;
      const name = decoded(path.split('/').pop()!);
      return { name: /\.\w+$/.test(name) ? name : 'image.png', blob };
    }
  } catch {
    // The address is kept.
  }
  return { address };
}

/** The images that are dragged from JupyterLab's file browser, to be loaded. */
export function dragged(event: Event, contents: Contents.IManager): (() => Promise<IImageFile>)[] {
  const data = (event as Drag.Event).mimeData;
  if (!data?.hasData(ONE)) {
    return [];
  }
  const { model } = data.getData(ONE) as { model: Contents.IModel };
  const paths = (data.getData(ALL) as string[] | undefined) ?? [model.path];
  return paths
    .filter(path =>
      path === model.path ? model.mimetype?.startsWith('image/') : IMAGE_FILE.test(path)
    )
    .map(path => async () => {
      const { name, mimetype, content } = await contents.get(path);
      const answer = await fetch(`data:${mimetype};base64,${String(content).replace(/\s/g, '')}`);
      return { name, blob: await answer.blob() };
    });
}
