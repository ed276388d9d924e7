/** An error as the system gives it to a driver, for what stands in for one. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code} (simulated)`), { code });
}
