import { validateSync } from 'class-validator';
import { EnvironmentError } from './environment.error.js';
import { Environment } from './environment.js';

/**
 * Reads and checks the environment. A blank variable counts as not given.
 *
 * @throws EnvironmentError naming everything that is wrong.
 */
export function readEnvironment(variables: NodeJS.ProcessEnv): Environment {
  return readInto(new Environment(), variables);
}

/** As `readEnvironment`, over an object that has the defaults. */
export function readInto<T extends object>(defaults: T, variables: NodeJS.ProcessEnv): T {
  const given = Object.keys(defaults).flatMap((name) => {
    const text = variables[name]?.trim();
    if (!text) return [];
    return [[name, /PORT$|_MS$/.test(name) && /^\d+$/.test(text) ? Number(text) : text]];
  });
  const environment = Object.assign(defaults, Object.fromEntries(given));
  const problems = validateSync(environment).flatMap(({ constraints = {} }) => Object.values(constraints));
  if (problems.length > 0) throw new EnvironmentError(problems);
  return environment;
}
