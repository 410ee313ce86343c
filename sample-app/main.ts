import 'reflect-metadata';
import { createApp } from './app.js';
import { Bank } from './bank/bank.js';
import { EnvironmentError } from './config/environment.error.js';
import { readEnvironment } from './config/environment.reader.js';

try {
  const environment = readEnvironment(process.env);
  const app = await createApp(environment);
  await app.listen(environment.PORT, '0.0.0.0');
  const { HTTP, LOCK, STORE } = environment;
  console.log(
    `Refunds at ${await app.getUrl()} (HTTP=${HTTP} LOCK=${LOCK} STORE=${STORE} BANK=${app.get(Bank).place})`,
  );
} catch (error) {
  console.error(explained(error));
  // At once: connections that were made already would keep the process alive.
  process.exit(1);
}

function explained(error: unknown): unknown {
  if (error instanceof EnvironmentError) return error.message;
  const { code, port } = error as { code?: string; port?: number };
  return code === 'EADDRINUSE'
    ? new EnvironmentError([`PORT is ${port}; it must be one nobody uses yet`]).message
    : error;
}
