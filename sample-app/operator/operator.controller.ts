import {
  Body,
  Controller,
  Get,
  HttpCode,
  NotFoundException,
  Param,
  Post,
  Query,
  UseFilters,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { IdempotencyService, type ListRequest, minutes } from 'nestjs-idempotent';
import { SameOriginGuard } from '../web/same-origin.guard.js';
import { answerOf, answerText } from './operator.answer.js';
import { ActDto, ListDto, ResolveDto } from './operator.dto.js';
import { OperatorFilter } from './operator.filter.js';
import { OperatorGuard } from './operator.guard.js';
import { type OperatorView, OperatorViewInterceptor } from './operator.view.js';
import { recordPage } from './record.page.js';
import { recordsPage } from './records.page.js';

const PAGE_SIZE = 50;

@ApiExcludeController()
@Controller('operator')
@UseGuards(SameOriginGuard, OperatorGuard)
@UseInterceptors(OperatorViewInterceptor)
@UseFilters(OperatorFilter)
export class OperatorController {
  constructor(private readonly idempotency: IdempotencyService) {}

  @Get()
  async list(@Query() query: ListDto): Promise<OperatorView> {
    const data = await this.idempotency.list(listRequestOf(query));
    return { data, title: 'Records', body: recordsPage(query, data) };
  }

  @Get('records/:id')
  async record(@Param('id') id: string): Promise<OperatorView> {
    const [record, steps, audit] = await Promise.all([
      this.idempotency.find(id),
      this.idempotency.steps(id),
      this.idempotency.audit(id),
    ]);
    // What was done to a record is known longer than the record.
    if (!record && audit.length === 0) throw new NotFoundException('There is no such record');
    const answer = record?.response ? answerText(record.response) : null;
    const data = { record: record && { ...record, response: answer }, steps, audit };
    return { data, title: 'Record', body: recordPage({ id, record, answer, steps, audit }) };
  }

  @Post('records/:id/release')
  @HttpCode(200)
  async release(@Param('id') id: string, @Body() { by, reason }: ActDto): Promise<OperatorView> {
    await this.idempotency.release(id, { by, reason });
    return this.done(id);
  }

  @Post('records/:id/resolve')
  @HttpCode(200)
  async resolve(@Param('id') id: string, @Body() resolution: ResolveDto): Promise<OperatorView> {
    const { by, reason } = resolution;
    await this.idempotency.resolve(id, { by, reason, response: answerOf(resolution) });
    return this.done(id);
  }

  private async done(id: string): Promise<OperatorView> {
    return { data: { audit: await this.idempotency.audit(id) }, seeOther: `/operator/records/${id}` };
  }
}

function listRequestOf({ state, scope, olderThanMinutes, cursor }: ListDto): ListRequest {
  return {
    limit: PAGE_SIZE,
    ...(state && state !== 'all' && { state }),
    ...(scope && { scope }),
    ...(olderThanMinutes && { olderThanMs: minutes(Number(olderThanMinutes)) }),
    ...(cursor && { cursor }),
  };
}
