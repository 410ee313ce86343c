/**
 * Loads a package that an app may do without.
 *
 * @param load the `import()` of it, written out, for bundlers to find.
 * @returns undefined where it is not installed.
 */
export async function ifInstalled<T>(name: string, load: () => Promise<unknown>): Promise<T | undefined> {
  try {
    return (await load()) as T;
  } catch (error) {
    if (!isNotInstalled(error, name)) throw error;
    return undefined;
  }
}

/** And not something it needs in turn. */
function isNotInstalled(error: unknown, name: string): boolean {
  const { code, message } = error as NodeJS.ErrnoException;
  const isMissing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
  return isMissing && message.includes(`'${name}'`);
}
