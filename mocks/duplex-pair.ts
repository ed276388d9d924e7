import { Duplex } from 'node:stream';

/**
 * The two ends of a connection in memory. Ending or destroying one ends the other, as a socket does.
 *
 * @param chunkBytes bytes that arrive at once, however many were written at once
 */
export function createDuplexPair(chunkBytes = Number.POSITIVE_INFINITY): [Duplex, Duplex] {
  const createEnd = (other: () => Duplex): Duplex => {
    let ended = false;
    const endOther = () => {
      if (!ended && !other().destroyed) other().push(null);
      ended = true;
    };
    return new Duplex({
      // Data is pushed as it is written; who reads slowly has it buffered.
      read: () => undefined,
      write: (chunk: Buffer, _encoding, done) => {
        for (let at = 0; at < chunk.length && !other().destroyed; at += chunkBytes) {
          other().push(chunk.subarray(at, Math.min(at + chunkBytes, chunk.length)));
        }
        done();
      },
      final: (done) => {
        endOther();
        done();
      },
      destroy: (error, done) => {
        endOther();
        done(error);
      },
    });
  };
  const left: Duplex = createEnd(() => right);
  const right: Duplex = createEnd(() => left);
  return [left, right];
}
