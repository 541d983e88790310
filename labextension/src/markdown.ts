/** Where a text written in Markdown shows an image, as llmagic/prompt/markdown.py finds it. */

/** `![alt](target)` from `start` to `stop`; `target` as it was typed. */
export interface IImageMark {
  start: number;
  stop: number;
  target: string;
}

/**
 * The inline images of a text, in order, none inside another: brackets and parentheses in pairs.
 *
 * Those in code are among them, though the kernel shows none there: a cell is read whole, also
 * what is no Markdown, and an image too many does no harm.
 */
export function imageMarks(text: string): IImageMark[] {
  const marks: IImageMark[] = [];
  let stop = 0;
  for (const { start, target } of alts(text)) {
    const mark = start < stop ? null : markAt(text, start, target);
    if (mark !== null) {
      marks.push(mark);
      stop = mark.stop;
    }
  }
  return marks;
}

/** A target without its backslash escapes. */
export function plainTarget(target: string): string {
  return target.replace(/\\([!-/:-@[-`{-~])/g, '$1');
}

const SPACE = /[ \t]*(?:\r?\n[ \t]*)?/y;
const ANGLED = /<((?:[^<>\\\n]|\\.)*)>/y;
const BARE = /[^ \x00-\x1f\x7f()\\]+|\\[^ \x00-\x1f\x7f]?|[()]/y;
const TITLE = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\((?:[^()\\]|\\.)*\)/sy;
const MAX_NESTING = 16;

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

function skip(text: string, at: number): number {
  return at + (matchAt(SPACE, text, at)?.[0].length ?? 0);
}

/** Where `![alt](` begins, and the target behind it, in order. */
function alts(text: string): { start: number; target: number }[] {
  if (!text.includes('![')) {
    return [];
  }
  const found: { start: number; target: number }[] = [];
  const inline = /\\[!-/:-@[-`{-~]|!?\[|\]|`+|\n[ \t\r]*(?=\n)/g;
  let opened: number[] = [];
  for (let token = inline.exec(text); token !== null; token = inline.exec(text)) {
    switch (token[0][0]) {
      case '!':
      case '[':
        opened.push(token.index);
        break;
      case ']': {
        const start = opened.pop();
        if (start !== undefined && text[start] === '!' && text[inline.lastIndex] === '(') {
          found.push({ start, target: inline.lastIndex + 1 });
        }
        break;
      }
      case '`':
        if (opened.length > 0) {
          inline.lastIndex = spanEnd(text, inline.lastIndex, token[0].length);
        }
        break;
      case '\n':
        opened = [];
    }
  }
  return found.sort((a, b) => a.start - b.start);
}

function markAt(text: string, start: number, behind: number): IImageMark | null {
  let at = skip(text, behind);
  const angled = matchAt(ANGLED, text, at);
  const end = angled === null ? bareEnd(text, at) : at + angled[0].length;
  const target = angled === null ? text.slice(at, end) : angled[1]!;
  at = skip(text, end);
  if (text[at] !== ')' && at > end) {
    const title = matchAt(TITLE, text, at);
    at = title === null ? at : skip(text, at + title[0].length);
  }
  return target !== '' && text[at] === ')' ? { start, stop: at + 1, target } : null;
}

/** Where a code span ends that as many backticks opened before `at`; `at` if it is none. */
function spanEnd(text: string, at: number, ticks: number): number {
  const runs = /`+|\n[ \t\r]*(?=\n)/g;
  runs.lastIndex = at;
  for (let found = runs.exec(text); found?.[0].startsWith('`'); found = runs.exec(text)) {
    if (found[0].length === ticks) {
      return runs.lastIndex;
    }
  }
  return at;
}

/** The end of a target without angle brackets: no spaces, parentheses in pairs. */
function bareEnd(text: string, at: number): number {
  if (text[at] === '<') {
    return at;
  }
  let depth = 0;
  for (let piece = matchAt(BARE, text, at); piece !== null; piece = matchAt(BARE, text, at)) {
    if (piece[0] === '(') {
      depth += 1;
    } else if (piece[0] === ')') {
      depth -= 1;
    }
    if (depth < 0 || depth > MAX_NESTING) {
      break;
    }
    at += piece[0].length;
  }
  return at;
}
