import { ValidateBy, ValidateIf, type ValidationArguments } from 'class-validator';
import type { Environment } from './environment.js';

interface Choice {
  /** Words a later version will know. */
  readonly later?: readonly string[];
}

interface Address {
  /** What it must be. */
  readonly form: string;
  /** What a comma-separated list is for, in a later version. */
  readonly several: string;
  /** Why it must be a list of at least two; false when it must be one. */
  readonly list?: (environment: Environment) => string | false;
  /** Why it cannot be left out; false when it can. */
  readonly needed?: (environment: Environment) => string | false;
}

interface Rule {
  readonly passes: (value: unknown, environment: Environment) => boolean;
  /** The second half of the message: what is wrong, and what it must be. */
  readonly fix: (value: unknown, environment: Environment) => string;
  readonly isNeeded?: (environment: Environment) => boolean;
  readonly isSecret?: boolean;
}

/** One of some words. */
export function OneOf(words: readonly string[], { later = [] }: Choice = {}): PropertyDecorator {
  const isLater = (value: unknown) => later.includes(value as string);
  const notYet = 'that is not available in this version; ';
  return rule({
    passes: (value) => words.includes(value as string),
    fix: (value) => `${isLater(value) ? notYet : ''}it must be ${listed(words)}`,
  });
}

/** A whole number. */
export function Whole(least: number, most: number, unit?: string): PropertyDecorator {
  return rule({
    passes: (value) => Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most,
    fix: () => `it must be a whole number from ${least} to ${most}${unit ? ` (${unit})` : ''}`,
  });
}

/** What nobody can guess. Never told in a message. */
export function Secret(least: number): PropertyDecorator {
  return rule({
    passes: (value) => typeof value === 'string' && value.length >= least && /^[\x21-\x7e]+$/.test(value),
    fix: () => `it must be at least ${least} characters of ASCII, without spaces`,
    isSecret: true,
  });
}

/** Where a backend is, or where several are: with commas between. */
export function AddressLike(pattern: RegExp, address: Address): PropertyDecorator {
  const { form, several, list, needed } = address;
  return rule({
    passes: (value, environment) => {
      const addresses = addressesOf(String(value));
      const isCount = list?.(environment) ? addresses.length > 1 : addresses.length === 1;
      return (
        isCount && addresses.every((one) => pattern.test(one)) && new Set(addresses).size === addresses.length
      );
    },
    fix: (value, environment) => {
      const why = (value === undefined && needed?.(environment)) || list?.(environment);
      const isLater = String(value).includes(',') && !list?.(environment);
      const notYet = isLater ? `${several} are not available in this version; ` : '';
      const count = list?.(environment) ? 'at least two different ones, with commas between, each ' : '';
      return `${notYet}it must be ${count}${form}${why ? `, because ${why}` : ''}`;
    },
    isNeeded: (environment) => Boolean(needed?.(environment)),
  });
}

/** Where the servers of one backend are, all in one text. */
export function ConnectStringLike(
  pattern: RegExp,
  { form, needed }: Pick<Address, 'form' | 'needed'>,
): PropertyDecorator {
  return rule({
    passes: (value) => typeof value === 'string' && pattern.test(value),
    fix: (value, environment) => {
      const why = value === undefined && needed?.(environment);
      return `it must be ${form}${why ? `, because ${why}` : ''}`;
    },
    isNeeded: (environment) => Boolean(needed?.(environment)),
  });
}

export function addressesOf(value: string): string[] {
  return value.split(',').map((address) => address.trim());
}

function rule({ passes, fix, isNeeded = () => false, isSecret = false }: Rule): PropertyDecorator {
  const message = ({ property, value, object }: ValidationArguments) =>
    `${property} is ${isSecret ? 'not what it should be' : shown(value)}; ${fix(value, object as Environment)}`;
  const decorators = [
    ValidateIf((environment: Environment, value) => value !== undefined || isNeeded(environment)),
    ValidateBy(
      {
        name: 'rule',
        validator: {
          validate: (value, about) => passes(value, about!.object as Environment),
        },
      },
      { message },
    ),
  ];
  return (target, property) => decorators.forEach((decorate) => decorate(target, property));
}

function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

/** As it was given, but for a password. */
export function shown(value: unknown): string {
  if (value === undefined) return 'missing';
  return JSON.stringify(value).replaceAll(/(:\/\/[^\s:@/]*):[^\s@/]*@/g, '$1:***@');
}
