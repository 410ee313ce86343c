import { stateMachine } from 'nestjs-idempotent/stores/typeorm';
import {
  AbstractLogger,
  Column,
  type DataSource,
  type DataSourceOptions,
  DeleteDateColumn,
  Entity,
  type LogLevel,
  type LogMessage,
  PrimaryColumn,
  VersionColumn,
} from 'typeorm';
import { started } from '../../sample-app/servers/cleanup.js';
import { type Flavour, MARIADB, open, POSTGRES, SQLITE } from '../stores/typeorm-flavours.js';

export type Status = 'PAID' | 'REFUNDING' | 'REFUNDED';

@Entity('state_orders')
export class Order {
  @PrimaryColumn('varchar', { name: 'order_id', length: 64 })
  orderId!: string;

  @Column('varchar', { name: 'order_status', length: 16 })
  status!: Status;

  @Column('varchar', { length: 64, nullable: true })
  refund!: string | null;

  @VersionColumn()
  version!: number;

  @DeleteDateColumn()
  deletedAt!: Date | null;
}

/** Numbers for people’s words, under another name than the usual one. */
@Entity('state_lamps')
export class Lamp {
  @PrimaryColumn('integer')
  id!: number;

  @Column('integer', {
    name: 'is_on',
    transformer: { to: (state: 'ON' | 'OFF') => Number(state === 'ON'), from: (n) => (n ? 'ON' : 'OFF') },
  })
  light!: 'ON' | 'OFF';
}

export const orders = stateMachine({ PAID: ['REFUNDING'], REFUNDING: ['REFUNDED', 'PAID'] });
export const lamps = stateMachine({ ON: ['OFF'], OFF: ['ON'] }, { column: 'light' });

/** One of each kind. */
export const FLAVOURS: readonly Flavour[] = [POSTGRES, MARIADB, SQLITE];

/** @param statements is given every statement. */
export async function openShop(
  flavour: Flavour,
  entities: DataSourceOptions['entities'] = [Order, Lamp],
  statements: string[] = [],
): Promise<DataSource> {
  const options = await flavour.create();
  const extra = options.type === 'postgres' ? { max: 20 } : { connectionLimit: 20 };
  const dataSource = await open(options, {
    entities,
    synchronize: true,
    ...(options.type !== 'better-sqlite3' && { extra }),
    logging: ['query'],
    logger: new Listener(statements),
  });
  started({ stop: () => dataSource.destroy() });
  return dataSource;
}

class Listener extends AbstractLogger {
  constructor(private readonly statements: string[]) {
    super(['query']);
  }

  protected writeLog(_level: LogLevel, message: LogMessage | string | number): void {
    this.statements.push(typeof message === 'object' ? String(message.message) : String(message));
  }
}
