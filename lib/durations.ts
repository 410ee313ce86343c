/** `seconds(30)` is 30 000: durations in options are milliseconds. */
export const seconds = (n: number): number => n * 1_000;
/** `minutes(10)` is 600 000. */
export const minutes = (n: number): number => seconds(n * 60);
/** `hours(24)` is 86 400 000. */
export const hours = (n: number): number => minutes(n * 60);
/** `days(7)` is 604 800 000. */
export const days = (n: number): number => hours(n * 24);
