/** Resolves when no file operation of this process is under way, for a clock that must not outrun them. */
export async function filesAnswered(): Promise<void> {
  do await new Promise((resolve) => setImmediate(resolve));
  while (process.getActiveResourcesInfo().some((name) => /^(FSReq|CloseReq)/.test(name)));
}
