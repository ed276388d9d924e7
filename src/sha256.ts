const BLOCK_BYTES = 64;

const PRIMES = [
  2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
  107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173, 179, 181, 191, 193, 197, 199, 211, 223,
  227, 229, 233, 239, 241, 251, 257, 263, 269, 271, 277, 281, 283, 293, 307, 311,
];

/**
 * The constants of FIPS 180-4, 4.2.2 and 5.3.3: of the first primes, 32 bits of what their roots have behind the point. Here, as everywhere
 * below, a word is a signed number: V8 keeps one above 2 ** 31 as an object.
 */
function fractionsOfRoots(count: number, root: (prime: number) => number): Int32Array {
  const words = new Int32Array(count);
  for (let index = 0; index < count; index += 1) words[index] = (root(PRIMES[index] ?? 0) % 1) * 2 ** 32;
  return words;
}

/** FIPS 180-4, 5.1.1: a one, zeros, and the length in bits as 64 bits, up to a whole block. */
function padded(bytes: Uint8Array): DataView {
  const blocks = Math.ceil((bytes.length + 9) / BLOCK_BYTES);
  const message = new Uint8Array(blocks * BLOCK_BYTES);
  message.set(bytes);
  message[bytes.length] = 0x80;
  const view = new DataView(message.buffer);
  view.setUint32(message.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(message.length - 4, bytes.length << 3);
  return view;
}

/**
 * SHA-256 (FIPS 180-4, 6.2.2) in lower-case hex, for texts of some KiB. Loading Node's own takes a fifth of the time in which
 * Node itself starts. Most of it runs before V8 has compiled it, so it calls no functions and makes no objects in its rounds.
 */
export function sha256(bytes: Uint8Array): string {
  const roundWords = fractionsOfRoots(64, Math.cbrt);
  const hash = fractionsOfRoots(8, Math.sqrt);
  const message = padded(bytes);
  const schedule = new Int32Array(64);
  for (let start = 0; start < message.byteLength; start += BLOCK_BYTES) {
    for (let index = 0; index < 16; index += 1) schedule[index] = message.getInt32(start + 4 * index);
    for (let index = 16; index < 64; index += 1) {
      const early = schedule[index - 15] as number;
      const late = schedule[index - 2] as number;
      const small0 = ((early >>> 7) | (early << 25)) ^ ((early >>> 18) | (early << 14)) ^ (early >>> 3);
      const small1 = ((late >>> 17) | (late << 15)) ^ ((late >>> 19) | (late << 13)) ^ (late >>> 10);
      const before = ((schedule[index - 16] as number) + (schedule[index - 7] as number)) | 0;
      schedule[index] = (before + ((small0 + small1) | 0)) | 0;
    }
    mixIn(hash, schedule, roundWords);
  }
  return Array.from(hash, (part) => (part >>> 0).toString(16).padStart(8, '0')).join('');
}

/** The 64 rounds of one block. */
function mixIn(hash: Int32Array, schedule: Int32Array, roundWords: Int32Array): void {
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = hash;
  const before = [a, b, c, d, e, f, g, h];
  for (let round = 0; round < 64; round += 1) {
    const big1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const choice = (e & f) ^ (~e & g);
    const added = ((roundWords[round] as number) + (schedule[round] as number)) | 0;
    const first = (((h + big1) | 0) + ((choice + added) | 0)) | 0;
    const big0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const majority = (a & b) ^ (a & c) ^ (b & c);
    h = g;
    g = f;
    f = e;
    e = (d + first) | 0;
    d = c;
    c = b;
    b = a;
    a = (first + ((big0 + majority) | 0)) | 0;
  }
  const after = [a, b, c, d, e, f, g, h];
  for (let index = 0; index < 8; index += 1) hash[index] = (before[index] ?? 0) + (after[index] ?? 0);
}
