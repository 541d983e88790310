import { sha256 } from '@noble/hashes/sha2';
import { bytesToHex } from '@noble/hashes/utils';

/** SHA-256 in hex; the browser's own is asynchronous, and missing on a page without TLS. */
export function digest(bytes: Uint8Array): string {
  return bytesToHex(sha256(bytes));
}

/** The digest of a text, as UTF-8. */
export function textDigest(text: string): string {
  return digest(new TextEncoder().encode(text));
}

/** The bytes of a base64 text; line breaks in it are ignored. */
export function decodeBase64(data: string): Uint8Array<ArrayBuffer> {
  const binary = atob(data.replace(/\s+/g, ''));
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) {
    bytes[index] = binary.charCodeAt(index);
  }
  return bytes;
}

/** The base64 text of some bytes, without line breaks. */
export function encodeBase64(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let start = 0; start < bytes.length; start += 0x8000) {
    parts.push(String.fromCharCode(...bytes.subarray(start, start + 0x8000)));
  }
  return btoa(parts.join(''));
}

/** Digests of images, each computed once. */
export class ImageDigests {
  /** The digest of the file in a base64 text; null if it is no base64. */
  of(data: string): string | null {
    let known = this._known.get(data);
    if (known === undefined) {
      try {
        known = digest(decodeBase64(data));
      } catch {
        known = null;
      }
      this._known.set(data, known);
    }
    return known;
  }

  /** Compute a digest when the browser has nothing else to do, so that no run waits for it. */
  prepare(data: string): void {
    if (!this._known.has(data)) {
      this._waiting.add(data);
      this._work ??= setTimeout(() => void this._next(), 50);
    }
  }

  private async _next(): Promise<void> {
    const [data] = this._waiting;
    if (data !== undefined) {
      this._waiting.delete(data);
      await this._compute(data);
    }
    this._work = this._waiting.size > 0 ? setTimeout(() => void this._next(), 50) : undefined;
  }

  /** As `of`, but on another thread where the browser can. */
  private async _compute(data: string): Promise<void> {
    if (this._known.has(data) || globalThis.crypto?.subtle === undefined) {
      this.of(data);
      return;
    }
    try {
      const found = await crypto.subtle.digest('SHA-256', decodeBase64(data));
      this._known.set(data, bytesToHex(new Uint8Array(found)));
    } catch {
      this._known.set(data, null);
    }
  }

  private _known = new Map<string, string | null>();
  private _waiting = new Set<string>();
  private _work: ReturnType<typeof setTimeout> | undefined;
}
