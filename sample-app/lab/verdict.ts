/** What the ledger says of an order that should have been paid once. */
export type Verdict =
  /** One payout. */
  | 'holds'
  /** Two or more. */
  | 'pays-twice'
  /** None, though somebody asked until the end: locked for ever, or answered "duplicate" for nothing. */
  | 'never-pays';

/** What a cell of the matrix should show. */
export type Expectation =
  | { readonly verdict: Verdict; readonly why: string }
  /** The scenario means nothing to this scheme. */
  | { readonly verdict: 'not-applicable'; readonly why: string };
