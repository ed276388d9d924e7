/** "Did you mean": finds the known name that a misspelt one probably stands for. */

/**
 * Typing errors between two words: letters left out, added, replaced, and neighbours swapped (optimal string alignment
 * distance of Damerau and Levenshtein). A word that was not typed to its end counts as one error.
 */
function typingErrors(word: string, name: string): number {
  if (word !== '' && name !== word && name.startsWith(word)) return 1;
  let beforeLast: number[] = [];
  let last = Array.from({ length: name.length + 1 }, (_, index) => index);
  for (let row = 1; row <= word.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= name.length; column += 1) {
      const isSame = word[row - 1] === name[column - 1];
      const isSwapped = word[row - 1] === name[column - 2] && word[row - 2] === name[column - 1];
      current[column] = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (isSame ? 0 : 1),
        isSwapped ? (beforeLast[column - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    beforeLast = last;
    last = current;
  }
  return last[name.length] ?? 0;
}

/**
 * The names that `word` was probably meant to be, all of them equally near; empty when none is. Capitals do not count.
 * @param unsafe names that do harm where another was meant: none of them is given while another name is as near
 */
export function nearest(
  word: string,
  known: readonly string[],
  unsafe: readonly string[] = [],
): readonly string[] {
  const ranked = known
    .map((name) => ({ name, distance: typingErrors(word.toLowerCase(), name.toLowerCase()) }))
    // A third of the letters may differ: enough for a typing error, too little for another word.
    .filter(({ name, distance }) => distance <= Math.ceil(Math.max(word.length, name.length) / 3));
  const least = Math.min(...ranked.map(({ distance }) => distance));
  const names = ranked.filter(({ distance }) => distance === least).map(({ name }) => name);
  const safe = names.filter((name) => !unsafe.includes(name));
  if (safe.length > 0 && safe.length < names.length) return safe;
  const begun = names.filter((name) => name.toLowerCase().startsWith(word.toLowerCase()));
  return begun.length > 0 ? begun : names;
}

/** `did you mean "a" or "b"?`, or null where nothing is near. */
export function didYouMean(
  word: string,
  known: readonly string[],
  unsafe: readonly string[] = [],
): string | null {
  const near = nearest(word, known, unsafe);
  // More than three is no help any more.
  if (near.length === 0 || near.length > 3) return null;
  return `did you mean ${near.map((name) => `"${name}"`).join(' or ')}?`;
}

/** "did you mean …" where something is near, else what there is. */
export function suggestName(word: string, known: readonly string[], what: string): string {
  return (
    didYouMean(word, known) ?? (known.length > 0 ? `${what}: ${known.join(', ')}` : `there are no ${what}`)
  );
}
