/** States in plain words. */

import { ICellState, IRunning, IUsage, Kind, Tier } from './tokens';

/** A state as a badge shows it. */
export interface IDescription {
  /** One word. */
  word: string;
  /** Figures, short. */
  figures: string;
  /** The same in whole sentences. */
  sentences: string;
}

export function describe(state: ICellState): IDescription {
  const { kind, usage, running } = state;
  const why = REASONS[kind];
  if (kind === 'running' && running !== null) {
    return { word: WORDS[kind], figures: progress(running), sentences: why };
  }
  if (usage === null || kind === 'waiting' || kind === 'failed' || kind === 'unfinished') {
    return { word: WORDS[kind], figures: '', sentences: why };
  }
  return { word: WORDS[kind], figures: figures(usage), sentences: `${why} ${story(usage)}`.trim() };
}

/** "1 image", "2 images", "1,203 tokens". */
export function count(amount: number, noun: string): string {
  return `${amount.toLocaleString('en')} ${noun}${amount === 1 ? '' : 's'}`;
}

/** A size in the unit that fits. */
export function size(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}

const WORDS: Record<Kind, string> = {
  new: 'not run yet',
  waiting: 'waiting',
  running: 'running',
  fresh: 'fresh',
  replayed: 'replayed',
  edited: 'edited',
  outdated: 'outdated',
  interrupted: 'interrupted',
  unfinished: 'unfinished',
  failed: 'failed'
};

const REASONS: Record<Kind, string> = {
  new: 'This cell has not been run.',
  waiting: 'This cell waits for the kernel.',
  running: 'The model is at work.',
  fresh: '',
  replayed: 'Nothing has changed, so the stored reply is shown again, without the model.',
  edited: 'This cell was edited after it ran. Run it to get a new reply.',
  outdated: 'Something above has changed since this cell ran. Run it to get a new reply.',
  interrupted: 'This cell was interrupted. Its text is not part of the conversation.',
  unfinished: 'The kernel went away while this cell ran. Run it again.',
  failed: 'This cell ended in an error. It is not part of the conversation.'
};

const PLACES: Record<Tier, string> = {
  live: 'the context, where it still was',
  memory: 'memory',
  disk: 'the disk',
  none: ''
};

function progress(running: IRunning): string {
  const { stage, done, total } = running;
  const rate = running.per_second ? ` · ${running.per_second.toFixed(1)} per second` : '';
  switch (stage) {
    case 'reply':
      return count(done, 'token') + rate;
    case 'prompt':
      return `reading the prompt, ${done.toLocaleString('en')} of ${count(total ?? 0, 'token')}`;
    case 'image':
      return `looking at image ${Math.min(done + 1, total ?? done + 1)} of ${total}`;
    case 'model':
      return `loading the model, ${done} %`;
    case 'download':
      return `downloading, ${size(done)}${total ? ` of ${size(total)}` : ''}`;
  }
}

function figures(usage: IUsage): string {
  const { prompt, restored, evaluated, encoded, generated } = usage;
  const parts = [
    restored.tier === 'none'
      ? `${count(evaluated.tokens, 'token')} read`
      : `${count(restored.tokens, 'token')} reused (${restored.tier}), ` +
        `${evaluated.tokens.toLocaleString('en')} read`
  ];
  if (prompt.images > 0) {
    const reused = Math.max(prompt.images - encoded.images, 0);
    const shown = [
      reused > 0 ? `${count(reused, 'image')} reused` : '',
      encoded.images > 0 ? `${count(encoded.images, 'image')} encoded` : ''
    ];
    parts.push(shown.filter(Boolean).join(', '));
  }
  parts.push(seconds(restored.ms + evaluated.ms + encoded.ms + generated.ms));
  return parts.join(' · ');
}

function opening(usage: IUsage): string {
  const { prompt, restored, evaluated, generated } = usage;
  if (generated.stop === 'replayed') {
    return `The reply (${count(generated.tokens, 'token')}) came from ${PLACES[restored.tier]}.`;
  }
  if (restored.tier === 'none') {
    return `All ${count(prompt.tokens, 'token')} of the prompt were read by ${usage.model}.`;
  }
  return (
    `The prompt has ${count(prompt.tokens, 'token')}. ${restored.tokens.toLocaleString('en')} of ` +
    `them were restored from ${PLACES[restored.tier]}, and ${usage.model} read ` +
    `${evaluated.tokens.toLocaleString('en')} (${seconds(evaluated.ms)}).`
  );
}

function story(usage: IUsage): string {
  const { prompt, encoded, generated } = usage;
  const sentences = [opening(usage)];
  if (prompt.images > 0) {
    sentences.push(
      encoded.images === 0
        ? `No image was encoded again (${count(prompt.images, 'image')}).`
        : `${encoded.images} of ${count(prompt.images, 'image')} went through the encoder ` +
            `(${seconds(encoded.ms)}).`
    );
  }
  if (generated.stop !== 'replayed') {
    sentences.push(`The reply has ${count(generated.tokens, 'token')} (${seconds(generated.ms)}).`);
  }
  if (generated.stop === 'length') {
    sentences.push('It was cut at the limit of tokens.');
  }
  if (!usage.exact) {
    sentences.push(
      'An earlier reply was read in other pieces: figures may differ in the last bits.'
    );
  }
  return sentences.join(' ');
}

function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
