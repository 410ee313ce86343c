import { stopEverything } from '../cleanup.js';

// Servers, proxies and processes a spec file did not stop itself end with the file.
afterAll(stopEverything);
