/** What can be the id of an order. Plain text, the same in every database, URL and shell. */
export const ORDER_ID = /^[\w.:-]{1,64}$/;

export function isOrderId(text: string): boolean {
  return ORDER_ID.test(text);
}
