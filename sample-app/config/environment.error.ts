/** The message has one line for each variable that is missing or wrong: its name, its value, what it must be. */
export class EnvironmentError extends Error {
  override readonly name = 'EnvironmentError';

  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(`The app does not start, because of its environment:\n  ${problems.join('\n  ')}`, options);
  }
}
