/**
 * Recovery points of running records: what a call has done already, kept for the attempts after it.
 *
 * Promises every implementation keeps:
 *
 * 1. `record` compares the token, atomically with the writing. Nothing of a former owner is recorded.
 * 2. Steps belong to one life of a record. They outlive its attempts, its release with `'keep'` and its
 *    becoming uncertain; when the record expires, is forgotten or swept, they are not told any more.
 * 3. A `record` whose reply was lost may be sent again.
 */
export interface StepStore {
  /** The recorded steps of a record, by position. */
  list(id: string): Promise<StoredStep[]>;

  /** @returns false when the token does not own the record, or it is not running: nothing was recorded. */
  record(id: string, token: string, step: StepRecord): Promise<boolean>;
}

export interface StepRecord {
  /** At most 128 characters; one a record. */
  readonly name: string;
  /** 0 for the first step of the call. */
  readonly position: number;
  /** JSON. */
  readonly result: string;
}

export interface StoredStep extends StepRecord {
  /** Of the call that did it. */
  readonly attempt: number;
  /** Milliseconds since 1970 by the server's clock. */
  readonly completedAt: number;
}
