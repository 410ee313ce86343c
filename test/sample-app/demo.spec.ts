import { readEnvironment } from '../../sample-app/config/environment.reader.js';
import { startProcess } from '../support/processes.js';
import { PATIENCE_MS } from './sample-app.js';

it(
  'the demo shows one payout for each order and ends with code 0, whatever the environment says',
  async () => {
    const env = { PORT: '1', LOCK: 'redis', DATABASE_URL: 'postgres://nowhere/x' };
    expect(() => readEnvironment(env)).toThrow('REDIS_URL');
    await using demo = startProcess('sample-app/demo/demo.ts', { env });
    const { code, stderr } = await demo.exited;
    expect([code, stderr]).toEqual([0, '']);
    const report = demo.lines.join('\n');
    // Order, sent, ran, replayed, refused for either reason, payouts, the late one.
    const rows = report.match(/^ {2}order-\d+ +\d+ +1 +20 +\d+ +1 +1 +same \d+ bytes$/gm);
    expect(rows).toHaveLength(10);
    expect(report).toMatch(/^10 orders, \d+ requests: 10 ran, 200 were replayed, 10 payouts left\.$/m);
  },
  PATIENCE_MS,
);
