import { Controller, Get } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { Environment } from '../../config/environment.js';
import { AnswersPage, page } from '../../web/page.js';
import { labOffPage, labPage } from './lab.page.js';

@ApiExcludeController()
@Controller()
export class LabPageController {
  constructor(private readonly environment: Environment) {}

  @Get()
  @AnswersPage()
  page(): string {
    const { LAB, OPERATOR_TOKEN } = this.environment;
    const isOn = LAB !== 'off';
    return page({
      title: 'Money must leave once',
      path: '/',
      body: isOn ? labPage() : labOffPage(),
      hasOperator: OPERATOR_TOKEN !== undefined,
      style: '/assets/lab.css',
      ...(isOn && { script: '/assets/main.js' }),
    });
  }
}
