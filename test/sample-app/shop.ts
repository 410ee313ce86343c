import { DataSource } from 'typeorm';
import { dataSourceOptions } from '../../sample-app/database/data-source.js';
import { Order } from '../../sample-app/orders/order.entity.js';

/** The database of the sample app, looked at from outside. */
export class Shop implements AsyncDisposable {
  private constructor(private readonly dataSource: DataSource) {}

  static async open(url: string): Promise<Shop> {
    return new Shop(await new DataSource(dataSourceOptions(url)).initialize());
  }

  /** Orders that are paid. */
  async pay(orderIds: readonly string[]): Promise<void> {
    const orders = orderIds.map((orderId): Order => ({
      orderId,
      amount: 100,
      status: 'PAID',
      refundId: null,
    }));
    await this.dataSource.createQueryBuilder().insert().into(Order).values(orders).execute();
  }

  /** By order, sorted: what its state is. */
  orders(): Promise<[orderId: string, status: string][]> {
    return this.#pairs(`SELECT order_id AS a, status AS b FROM orders`);
  }

  /** By order, sorted: a payout a row, with its amount. */
  ledger(): Promise<[orderId: string, amount: number][]> {
    return this.#pairs(`SELECT order_id AS a, amount AS b FROM ledger`);
  }

  /** By order, sorted: a refund a row. */
  refunds(): Promise<[orderId: string, refundId: string][]> {
    return this.#pairs(`SELECT order_id AS a, refund_id AS b FROM refunds WHERE status = 'REFUNDED'`);
  }

  /** By key, sorted: what the record says. */
  async records(): Promise<{ key: string; state: string }[]> {
    const key = this.dataSource.options.type === 'postgres' ? '"key"' : '`key`';
    const sql = `SELECT ${key} AS name, state FROM idempotency_record`;
    const rows: { name: string; state: string }[] = await this.dataSource.query(sql);
    return rows.map(({ name, state }) => ({ key: name, state })).toSorted((a, b) => (a.key < b.key ? -1 : 1));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dataSource.destroy();
  }

  async #pairs<T>(sql: string): Promise<[string, T][]> {
    const rows: { a: string; b: T }[] = await this.dataSource.query(sql);
    return rows.map(({ a, b }): [string, T] => [a, b]).toSorted(([a], [b]) => (a < b ? -1 : 1));
  }
}
