import { stopEverything } from '../../../sample-app/servers/cleanup.js';

// Servers, proxies and processes a spec file did not stop itself end with the file.
afterAll(stopEverything);

// A machine that is starved for a moment misses deadlines that are real here. What fails twice fails; the first time
// is logged.
(import.meta as unknown as { jest: typeof jest }).jest.retryTimes(1, { logErrorsBeforeRetry: true });
