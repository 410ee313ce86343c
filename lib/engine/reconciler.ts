import { randomUUID } from 'node:crypto';
import type { ResultStore, StoredRecord, StoredResponse } from '../stores/result-store.js';
import { within } from './backend.js';
import type { CallIdentity, CallPolicy, EngineCounters, EngineLog } from './policy.js';

/** In the audit, in place of a person's name. */
const BY = 'reconcile';

/** What became of the work: it was done and this is its answer, it was not done, or nobody knows yet. */
export type Finding = StoredResponse | 'retry' | 'unknown';

/** Finds out what became of the work of an uncertain record. Rejecting is not knowing. */
export type FindOut = (record: StoredRecord, signal: AbortSignal) => Promise<Finding>;

/**
 * Settles uncertain records by asking somebody who may know.
 *
 * One asks at a time: inside the process they meet here, among processes at a reservation of the record, which also
 * keeps anybody from asking again before the time for an answer is over. The settlement itself goes by the token of
 * the record that was asked about, so an answer that comes too late settles nothing.
 */
export class Reconciler {
  private readonly underWay = new Map<string, Promise<boolean>>();

  constructor(
    private readonly store: ResultStore,
    private readonly log: EngineLog,
    private readonly counters: EngineCounters,
  ) {}

  /**
   * @returns whether it is worth looking at the record again.
   * @throws BackendUnavailableError when the store cannot be asked.
   */
  settle(identity: CallIdentity, policy: CallPolicy, findOut: FindOut): Promise<boolean> {
    const { id } = identity;
    const asking = this.underWay.get(id);
    if (asking) return policy.onConflict === 'wait' ? asking : Promise.resolve(false);
    const asked = this.ask(identity, policy, findOut).finally(() => this.underWay.delete(id));
    this.underWay.set(id, asked);
    return asked;
  }

  private async ask(identity: CallIdentity, policy: CallPolicy, findOut: FindOut): Promise<boolean> {
    const { store } = this;
    const { id, scope } = identity;
    const asStore = <T>(operation: () => Promise<T>) =>
      within(policy.backendTimeoutMs, `Store ${store.name}`, operation);
    const record = await asStore(() => store.find(id));
    if (record?.state !== 'uncertain' || record.token === null) return true;
    const uncertainToken = record.token;
    const ms = policy.reconcileTimeoutMs;
    if (!(await asStore(() => store.reserve(id, uncertainToken, ms)))) return false;
    const finding = await this.finding(identity, record, ms, findOut);
    if (finding === 'unknown') return false;
    const response = finding === 'retry' ? null : finding;
    const reason = response ? `${scope}: it was done` : `${scope}: it was not done`;
    const { retentionMs } = policy;
    const act = { id, response, evenLive: false, uncertainToken, retentionMs, by: BY, reason };
    const { done } = await asStore(() => store.act({ ...act, actId: randomUUID() }));
    if (done) this.counters.reconciled++;
    return true;
  }

  private async finding(
    { id, scope }: CallIdentity,
    record: StoredRecord,
    ms: number,
    findOut: FindOut,
  ): Promise<Finding> {
    const where = `${scope} (record ${id.slice(0, 12)})`;
    const late = () =>
      this.log.warn(`${where}: the answer of its reconcile hook came too late and is not used`);
    const controller = new AbortController();
    try {
      return await within(ms, 'It', () => findOut(record, controller.signal), late);
    } catch (error) {
      controller.abort(error);
      this.log.error(`${where} stays uncertain, its reconcile hook failed. ${(error as Error).message}`);
      return 'unknown';
    }
  }
}
