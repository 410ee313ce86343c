import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { binary } from '../../sample-app/servers/server-binaries.js';
import { type Server, ServerProcess } from '../../sample-app/servers/server-process.js';

export function startNats(): Promise<Server> {
  return ServerProcess.start({
    name: 'nats',
    command: binary('nats-server'),
    url: (port) => `nats://127.0.0.1:${port}`,
    restartSignal: 'SIGTERM',
    stopSignal: 'KILL',
    args: (port) => ['--addr', '127.0.0.1', '--port', String(port)],
    // It greets everybody with what it is.
    ping: (port) => answers(port),
  });
}

/** A broker of MQTT 3.1.1 and 5. */
export function startMosquitto(): Promise<Server> {
  return ServerProcess.start({
    name: 'mosquitto',
    command: binary('mosquitto'),
    url: (port) => `mqtt://127.0.0.1:${port}`,
    restartSignal: 'SIGTERM',
    stopSignal: 'KILL',
    args: (_, folder) => ['-c', join(folder, 'mosquitto.conf')],
    configure: (port, folder) =>
      writeFileSync(join(folder, 'mosquitto.conf'), `listener ${port} 127.0.0.1\nallow_anonymous true\n`),
    // CONNECT of a client without a name.
    ping: (port) => answers(port, Buffer.from('100c00044d5154540402003c0000', 'hex')),
  });
}

/** Resolves when the server says something. */
async function answers(port: number, hello?: Buffer): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  try {
    socket.setTimeout(1_000, () => socket.destroy(new Error('no answer')));
    if (hello) socket.write(hello);
    await once(socket, 'data');
  } finally {
    socket.destroy();
  }
}
