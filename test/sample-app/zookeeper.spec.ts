import { fourLetters, startZooKeeper } from '../../sample-app/servers/zookeeper.js';
import { sharedPostgres } from '../support/shared-servers.js';
import { eventually, PATIENCE_MS, SampleInside } from './sample-app.js';

it(
  'LOCK=zookeeper: one payout for a burst at two apps; 503 without ZooKeeper, and nobody paid; sessions end with the app',
  async () => {
    await using server = await startZooKeeper();
    const sessions = async () => (await fourLetters(server.port, 'dump')).match(/^\t0x/gm)?.length ?? 0;
    const variables = {
      DATABASE_URL: await sharedPostgres().createDatabase(),
      LOCK: 'zookeeper',
      ZOOKEEPER_URL: server.url,
      LEASE_MS: '5000',
    };
    {
      await using first = await SampleInside.start(variables);
      await using second = await SampleInside.start(variables);
      await first.pay('order', 'late');
      const burst = Array.from({ length: 20 }, (_, at) =>
        eventually(
          () => (at % 2 ? first : second).refund('order', 'key'),
          ({ status }) => status === 201,
        ),
      );
      const texts = new Set((await Promise.all(burst)).map(({ text }) => text));
      expect(texts.size).toBe(1);
      expect(await first.ledger('order')).toHaveLength(1);
      expect(await sessions()).toBe(2);

      await server.pause();
      const refused = await first.refund('late', 'another');
      expect(refused).toMatchObject({ status: 503, json: { code: 'unavailable' } });
      expect(await first.ledger('late')).toEqual([]);
      await server.resume();
      await eventually(
        () => first.refund('late', 'another'),
        ({ status }) => status === 201,
      );
      expect(await first.ledger('late')).toHaveLength(1);
    }
    expect(await sessions()).toBe(0);
  },
  PATIENCE_MS,
);
