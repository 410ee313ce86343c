import { stateMachine } from 'nestjs-idempotent/stores/typeorm';

/** Every change of an order's state is one compare-and-set: of two refunds that try at once one gets it. */
export const orderStates = stateMachine({ PAID: ['REFUNDING'], REFUNDING: ['REFUNDED'] });
