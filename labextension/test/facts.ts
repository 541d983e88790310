import { textDigest } from '../src/digest';
import { references } from '../src/source';
import { ICellFacts, IUsage } from '../src/tokens';

/** Metadata of a reply, as the kernel would write it. */
export function usage(
  turn: string | null,
  after: string | null,
  source: string,
  more = {}
): IUsage {
  return {
    turn,
    after,
    source: textDigest(source),
    model: 'toy',
    thread: 'main',
    prompt: { tokens: 1250, images: 3 },
    restored: { tokens: 1203, images: 3, tier: 'memory', ms: 3 },
    evaluated: { tokens: 47, images: 0, ms: 410 },
    encoded: { images: 0, ms: 0 },
    generated: { tokens: 24, ms: 800, stop: 'end' },
    exact: true,
    ...more
  };
}

export function cell(id: string, source: string, more: Partial<ICellFacts> = {}): ICellFacts {
  return {
    id,
    type: 'code',
    source,
    images: references(source),
    attachments: new Map(),
    usages: [],
    shown: (more.usages ?? []).filter(usage => usage.turn !== null),
    counts: false,
    running: null,
    executing: false,
    failed: false,
    ...more
  };
}

/** Questions that ran one after the other. */
export function asked(...ids: string[]): ICellFacts[] {
  return ids.map((id, index) =>
    cell(id, `%%llm\n${id}`, {
      usages: [usage(`turn-${id}`, index ? `turn-${ids[index - 1]}` : null, `%%llm\n${id}`)]
    })
  );
}
