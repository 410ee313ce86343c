import {
  KafkaContext,
  MqttContext,
  NatsContext,
  RedisContext,
  RmqContext,
  TcpContext,
} from '@nestjs/microservices';
import { messageOf } from '../../lib/transports/rpc-message.js';

const of = (context: object) => {
  const { headers, messageId } = messageOf(context);
  return { headers: { ...headers }, messageId };
};

describe('what a message is known by', () => {
  it('RabbitMQ: its properties', () => {
    const message = { properties: { messageId: 'm-1', headers: { 'X-Refund': 'r-1' } } };
    expect(of(new RmqContext([message, {}, 'p']))).toEqual({
      messageId: 'm-1',
      headers: { 'X-Refund': 'r-1', 'x-refund': 'r-1' },
    });
    expect(of(new RmqContext([{ properties: {} }, {}, 'p']))).toEqual({ messageId: undefined, headers: {} });
  });

  it('Kafka: its place in the log, and headers, which are bytes', () => {
    const message = { offset: '42', headers: { 'Idempotency-Key': Buffer.from('k-1') } };
    const context = new KafkaContext([message, 3, 'refunds', {}, async () => undefined, {}] as never);
    expect(of(context)).toEqual({
      messageId: 'refunds/3/42',
      headers: { 'Idempotency-Key': 'k-1', 'idempotency-key': 'k-1' },
    });
  });

  it('NATS: the header that JetStream tells duplicates by', () => {
    const headers = new Map([
      ['Nats-Msg-Id', ['m-2']],
      ['Many', ['a', 'b']],
    ]);
    expect(of(new NatsContext(['refunds', headers]))).toMatchObject({
      messageId: 'm-2',
      headers: { 'nats-msg-id': 'm-2', many: ['a', 'b'] },
    });
    expect(of(new NatsContext(['refunds', undefined]))).toEqual({ messageId: undefined, headers: {} });
  });

  it('MQTT: user properties, but not the number of the packet, which is used again', () => {
    const packet = { messageId: 7, properties: { userProperties: { key: 'k-1' } } };
    expect(of(new MqttContext(['refunds', packet]))).toEqual({
      messageId: undefined,
      headers: { key: 'k-1' },
    });
  });

  it('TCP and Redis: the metadata of the packet', () => {
    expect(of(new TcpContext([{} as never, 'p', { trace: 't' }]))).toMatchObject({ headers: { trace: 't' } });
    expect(of(new RedisContext(['p', { trace: 't' }]))).toMatchObject({ headers: { trace: 't' } });
  });

  it('names that every object has are no headers', () => {
    expect(messageOf(new RedisContext(['p'])).headers['constructor']).toBeUndefined();
  });
});
