import {
  ClassSerializerInterceptor,
  Controller,
  type INestApplication,
  Post,
  UseInterceptors,
} from '@nestjs/common';
import { APP_INTERCEPTOR, Reflector } from '@nestjs/core';
import { Exclude, Expose } from 'class-transformer';
import { Idempotent, memoryStore, type StoredResponse } from 'nestjs-idempotent';
import { altered, expectReplayOf, PLATFORMS, startApp } from '../support/http-app.js';

let ran = 0;

class Customer {
  @Exclude() readonly password = 'hunter2';
  readonly name = 'Ada';

  constructor(readonly id: number) {}

  @Expose() get label() {
    return `${this.name} ${this.id}`;
  }
}

class ByNobody {
  @Post('customer') @Idempotent() one() {
    return new Customer(++ran);
  }
  @Post('customers') @Idempotent() async many() {
    return [new Customer(++ran), new Customer(++ran)];
  }
}

@Controller()
class Plain extends ByNobody {}

@Controller()
@UseInterceptors(ClassSerializerInterceptor)
class ByController extends ByNobody {}

@Controller()
class ByMethod {
  @Post('customer') @UseInterceptors(ClassSerializerInterceptor) @Idempotent() one() {
    return new Customer(++ran);
  }
  @Post('customers') @Idempotent() @UseInterceptors(ClassSerializerInterceptor) async many() {
    return [new Customer(++ran), new Customer(++ran)];
  }
}

const globally = (app: INestApplication) =>
  void app.useGlobalInterceptors(new ClassSerializerInterceptor(app.get(Reflector)));

const levels = [
  { level: 'global, from main.ts', controller: Plain, setup: globally, providers: [] },
  {
    level: 'global, as a provider',
    controller: Plain,
    providers: [{ provide: APP_INTERCEPTOR, useClass: ClassSerializerInterceptor }],
  },
  { level: 'controller', controller: ByController, providers: [] },
  { level: 'method', controller: ByMethod, providers: [] },
];

beforeEach(() => {
  ran = 0;
});

describe.each(PLATFORMS)('%s', (platform) => {
  it.each(levels)('G23 an excluded field is neither stored nor replayed: $level', async (level) => {
    const inner = memoryStore();
    const stored: StoredResponse[] = [];
    const store = altered(inner, {
      complete: (id, token, response, retentionMs) => {
        stored.push(response);
        return inner.complete(id, token, response, retentionMs);
      },
    });
    const { controller, providers, setup } = level;
    await using app = await startApp({
      platform,
      controllers: [controller],
      providers,
      module: { store },
      ...(setup ? { setup } : {}),
    });
    const one = await app.post('/customer', 'k', {});
    expect(one.json).toEqual({ id: 1, name: 'Ada', label: 'Ada 1' });
    expectReplayOf(one, await app.post('/customer', 'k', {}));
    const many = await app.post('/customers', 'k', {});
    expect(many.json).toHaveLength(2);
    expectReplayOf(many, await app.post('/customers', 'k', {}));
    expect(stored.map(({ body }) => String(body))).toEqual([one.text, many.text]);
    expect(one.text + many.text).not.toContain('hunter2');
    expect(ran).toBe(3);
  });
});
