/** Statements of one kind under way: half of what `pg` pools by default. What comes meanwhile waits for one to return. */
const MOST_UNDER_WAY = 5;
/** Questions in one statement. */
const MOST_AT_ONCE = 100;

interface Asked<Q, A> {
  readonly question: Q;
  readonly resolve: (answer: A) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Asks in one statement what is asked in one turn of the event loop, or while earlier statements are under way
 * (group commit). Under load that is a fraction of the round trips, parses and commits; alone, a question is sent
 * within the same turn.
 */
export class Bunch<Q, A> {
  readonly #waiting: Asked<Q, A>[] = [];
  #underWay = 0;
  #isScheduled = false;

  /**
   * @param askAll answers in order. A database that refuses it has done nothing of it.
   * @param isRefusal whether an error is such a refusal: then each is asked alone, for one may be at fault for all.
   */
  constructor(
    private readonly askAll: (questions: readonly Q[]) => Promise<readonly A[]>,
    private readonly isRefusal: (error: unknown) => boolean,
  ) {}

  /** @throws what `askAll` throws. */
  ask(question: Q): Promise<A> {
    return new Promise<A>((resolve, reject) => {
      this.#waiting.push({ question, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#isScheduled || this.#underWay >= MOST_UNDER_WAY || this.#waiting.length === 0) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      void this.#send(this.#waiting.splice(0, MOST_AT_ONCE));
      this.#schedule();
    });
  }

  async #send(bunch: readonly Asked<Q, A>[]): Promise<void> {
    this.#underWay++;
    try {
      const answers = await this.askAll(bunch.map(({ question }) => question));
      bunch.forEach(({ resolve }, index) => resolve(answers[index]!));
    } catch (error) {
      if (bunch.length > 1 && this.isRefusal(error)) await Promise.all(bunch.map((one) => this.#send([one])));
      else for (const { reject } of bunch) reject(error);
    } finally {
      this.#underWay--;
      this.#schedule();
    }
  }
}
