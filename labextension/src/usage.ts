import { IRunning, IUsage } from './tokens';

type Json = Record<string, unknown>;

/** The reply's metadata in the metadata of an output; null if there is none that can be read. */
export function usageOf(metadata: unknown): IUsage | null {
  const found = ours(metadata);
  if (found === null || !(found.turn === null || typeof found.turn === 'string')) {
    return null;
  }
  const numbers: [string, string[]][] = [
    ['prompt', ['tokens', 'images']],
    ['restored', ['tokens', 'images', 'ms']],
    ['evaluated', ['tokens', 'images', 'ms']],
    ['encoded', ['images', 'ms']],
    ['generated', ['tokens', 'ms']]
  ];
  const whole = numbers.every(([part, names]) => {
    const values = found[part];
    return isObject(values) && names.every(name => typeof values[name] === 'number');
  });
  return whole ? (found as unknown as IUsage) : null;
}

/** How far a running cell is, from the metadata of its display. */
export function runningOf(metadata: unknown): IRunning | null {
  const running = ours(metadata)?.running;
  return isObject(running) && typeof running.stage === 'string' && typeof running.done === 'number'
    ? (running as unknown as IRunning)
    : null;
}

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function ours(metadata: unknown): Json | null {
  const found = isObject(metadata) ? metadata.llmagic : null;
  return isObject(found) && found.version === 1 ? found : null;
}
