interface KafkaContextLike {
  getPartition(): number;
  getMessage(): { readonly headers?: Readonly<Record<string, unknown>> };
}

/** Where a request says who waits for its answer. */
const REPLY_TOPIC = 'kafka_replyTopic';

/** How a message of Kafka is to be answered; undefined for one of another transport. */
export function kafkaKindOf(context: object): 'request' | 'event' | undefined {
  const like = context as Partial<KafkaContextLike>;
  if (!like.getPartition || !like.getMessage) return undefined;
  return like.getMessage().headers?.[REPLY_TOPIC] ? 'request' : 'event';
}
