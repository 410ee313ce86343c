import { validateSync } from 'class-validator';
import { EnvironmentError } from './environment.error.js';
import { Environment } from './environment.js';

const NAMES = Object.keys(new Environment()) as (keyof Environment)[];
const NUMBERS: readonly string[] = NAMES.filter((name) => name === 'PORT' || name.endsWith('_MS'));

/**
 * Reads and checks the environment. A blank variable counts as not given.
 *
 * @throws EnvironmentError naming everything that is wrong.
 */
export function readEnvironment(variables: NodeJS.ProcessEnv): Environment {
  const given = NAMES.flatMap((name) => {
    const text = variables[name]?.trim();
    if (!text) return [];
    return [[name, NUMBERS.includes(name) && /^\d+$/.test(text) ? Number(text) : text]];
  });
  const environment = Object.assign(new Environment(), Object.fromEntries(given));
  const problems = validateSync(environment).flatMap(({ constraints = {} }) => Object.values(constraints));
  if (problems.length > 0) throw new EnvironmentError(problems);
  return environment;
}
