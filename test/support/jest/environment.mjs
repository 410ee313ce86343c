import { TestEnvironment } from 'jest-environment-node';

/**
 * Jest forgives a rejection that is handled a few turns too late; Node ends the process for it.
 * Here it fails the file.
 */
export default class StrictEnvironment extends TestEnvironment {
  #late = [];
  #onLate = (promise) => this.#late.push(promise);

  async handleTestEvent(event, state) {
    if (event.name === 'run_start') process.on('rejectionHandled', this.#onLate);
    if (event.name !== 'run_finish') return;
    process.off('rejectionHandled', this.#onLate);
    for (const promise of this.#late) {
      const cause = await promise.catch((error) => error);
      const error = new Error(
        `A rejection was handled too late, Node would have exited: ${cause?.stack ?? cause}`,
      );
      state.unhandledErrors.push(error);
    }
  }
}
