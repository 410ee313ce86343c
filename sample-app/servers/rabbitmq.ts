import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { freePort } from './ports.js';
import { binary, findRabbitMq } from './server-binaries.js';
import { type Server, ServerProcess } from './server-process.js';

/** `url` is for clients: `amqp://…`. What it acknowledged of durable queues survives a restart and a kill. */
export interface RabbitMqServer extends Server {}

/** A broker of its own: with its own data, cookie, and register of Erlang nodes. */
export async function startRabbitMq(): Promise<RabbitMqServer> {
  const script = findRabbitMq();
  if (!script) throw new Error('RabbitMQ is not installed. Run: npm run test:servers');
  const epmd = await startEpmd();
  try {
    const distributionPort = await freePort();
    const server = await ServerProcess.start({
      name: 'rabbitmq',
      command: binary('env'),
      url: (port) => `amqp://guest:guest@127.0.0.1:${port}`,
      restartSignal: 'SIGTERM',
      stopSignal: 'KILL',
      args: (port, folder) => [
        `HOME=${folder}`,
        // The script becomes the broker, rather than starting it.
        'RUNNING_UNDER_SYSTEMD=true',
        `RABBITMQ_NODENAME=rabbit${distributionPort}@localhost`,
        'RABBITMQ_NODE_IP_ADDRESS=127.0.0.1',
        `RABBITMQ_NODE_PORT=${port}`,
        `RABBITMQ_DIST_PORT=${distributionPort}`,
        `RABBITMQ_MNESIA_BASE=${join(folder, 'data')}`,
        `RABBITMQ_LOG_BASE=${join(folder, 'log')}`,
        'RABBITMQ_LOGS=-',
        `RABBITMQ_PID_FILE=${join(folder, 'pid')}`,
        `RABBITMQ_CONFIG_FILE=${join(folder, 'rabbitmq')}`,
        `RABBITMQ_CONF_ENV_FILE=${join(folder, 'none')}`,
        `RABBITMQ_ENABLED_PLUGINS_FILE=${join(folder, 'plugins')}`,
        `ERL_EPMD_PORT=${epmd.port}`,
        'ERL_ZFLAGS=-start_epmd false',
        'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none -setcookie test',
        script,
      ],
      configure: (_, folder) => {
        writeFileSync(join(folder, 'rabbitmq.conf'), 'loopback_users = none\n');
        writeFileSync(join(folder, 'plugins'), '[].\n');
      },
      ping: pingAmqp,
    });
    return withStop(server, epmd);
  } catch (error) {
    await epmd.stop();
    throw error;
  }
}

/** Where Erlang nodes of one machine find each other. Without one of its own a broker leaves one behind. */
function startEpmd(): Promise<Server> {
  return ServerProcess.start({
    name: 'epmd',
    command: binary('epmd'),
    url: (port) => `127.0.0.1:${port}`,
    restartSignal: 'SIGTERM',
    stopSignal: 'KILL',
    args: (port) => ['-address', '127.0.0.1', '-port', String(port)],
    ping: async (port) => {
      const socket = connect(port, '127.0.0.1');
      await once(socket, 'connect').finally(() => socket.destroy());
    },
  });
}

function withStop(server: ServerProcess, epmd: Server): RabbitMqServer {
  const stop = server.stop.bind(server);
  return Object.assign(server, {
    stop: async () => {
      await stop();
      await epmd.stop();
    },
  });
}

/** A broker answers the greeting of AMQP 0-9-1 with `connection.start`. */
async function pingAmqp(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  try {
    socket.setTimeout(1_000, () => socket.destroy(new Error('no answer')));
    socket.write(Buffer.from([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1]));
    const [reply] = (await once(socket, 'data')) as [Buffer];
    if (reply[0] !== 1) throw new Error(`it said ${reply.toString('hex')}`);
  } finally {
    socket.destroy();
  }
}
