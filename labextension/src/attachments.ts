import { IAttachmentsCellModel, ICellModel } from '@jupyterlab/cells';
import { PartialJSONObject } from '@lumino/coreutils';
import { Attachments, IAttachment } from './tokens';
import { isObject } from './usage';

const KEY = 'llmagic';

/** The images in the metadata of a code cell, or the attachments of another one. */
export function attachmentsOf(model: ICellModel): Attachments {
  const bundles =
    model.type === 'code'
      ? (model.getMetadata(KEY) as PartialJSONObject | undefined)?.attachments
      : (model as Partial<IAttachmentsCellModel>).attachments?.toJSON();
  const found = new Map<string, IAttachment>();
  for (const [name, bundle] of Object.entries(isObject(bundles) ? bundles : {})) {
    for (const [mime, data] of Object.entries(isObject(bundle) ? bundle : {})) {
      if (mime.startsWith('image/') && typeof data === 'string') {
        found.set(name, { mime, data });
        break;
      }
    }
  }
  return found;
}

/** Set the images of a code cell; other metadata stays, and no step of undo is made. */
export function setAttachments(model: ICellModel, attachments: Attachments): void {
  const others = { ...(model.getMetadata(KEY) as PartialJSONObject | undefined) };
  delete others.attachments;
  const bundles = Object.fromEntries([...attachments].map(([n, a]) => [n, { [a.mime]: a.data }]));
  model.sharedModel.transact(() => {
    if (attachments.size > 0) {
      model.setMetadata(KEY, { ...others, attachments: bundles });
    } else if (Object.keys(others).length > 0) {
      model.setMetadata(KEY, others);
    } else {
      model.deleteMetadata(KEY);
    }
  }, false);
}

/**
 * Begin a new step of undo: what is done within half a second is one step otherwise, and undoing
 * the removal of an image would take the insertion of another with it.
 */
export function beginStep(model: ICellModel): void {
  const { undoManager } = model.sharedModel as { undoManager?: { stopCapturing(): void } | null };
  undoManager?.stopCapturing();
}
