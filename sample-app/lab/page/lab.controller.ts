import {
  Body,
  Controller,
  Get,
  HttpCode,
  type MessageEvent,
  NotFoundException,
  Param,
  Post,
  Sse,
  UseGuards,
} from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { map, type Observable } from 'rxjs';
import { SameOriginGuard } from '../../web/same-origin.guard.js';
import { JsonOnlyGuard } from './json-only.guard.js';
import { ExperimentDto, RunDto } from './lab.dto.js';
import type { CellReport, CellSummary } from './lab.events.js';
import { LabHost } from './lab.host.js';

/** What the page asks for. Whatever starts or kills something comes from this app's own pages, or from no browser. */
@ApiExcludeController()
@Controller('lab')
@UseGuards(SameOriginGuard, JsonOnlyGuard)
export class LabController {
  constructor(private readonly host: LabHost) {}

  @Get('cells')
  cells(): ReturnType<LabHost['matrix']> {
    return this.host.matrix();
  }

  @Get('results')
  results(): readonly CellSummary[] {
    return this.host.state.results;
  }

  @Get('results/:scheme/:scenario')
  result(@Param('scheme') scheme: string, @Param('scenario') scenario: string): CellReport {
    const report = this.host.report({ scheme, scenario });
    if (!report) throw new NotFoundException('It was not played yet.');
    return report;
  }

  @Sse('events')
  events(): Observable<MessageEvent> {
    return this.host.watch().pipe(map((data) => ({ data })));
  }

  @Post('run')
  @HttpCode(202)
  async run(@Body() { scheme, scenario }: RunDto): Promise<{ added: number }> {
    return { added: await this.host.run({ ...(scheme && { scheme }), ...(scenario && { scenario }) }) };
  }

  @Post('experiment')
  @HttpCode(202)
  async experiment(@Body() options: ExperimentDto): Promise<{ scheme: string }> {
    await this.host.begin(options);
    return { scheme: options.scheme };
  }

  @Post('experiment/kill')
  @HttpCode(200)
  async kill(): Promise<{ killed: string | null }> {
    return { killed: await this.host.kill() };
  }

  @Post('experiment/send')
  @HttpCode(202)
  async sendOne(): Promise<object> {
    await this.host.sendOne();
    return {};
  }
}
