import { type DynamicModule, Module } from '@nestjs/common';
import { Environment } from '../../config/environment.js';
import { LabController } from './lab.controller.js';
import { LabHost } from './lab.host.js';
import { LabPageController } from './lab-page.controller.js';

/** The lab as the first page. Switched off, the page says so, and nothing can be played. */
@Module({})
export class LabModule {
  static of({ LAB }: Environment): DynamicModule {
    if (LAB === 'off') return { module: LabModule, controllers: [LabPageController] };
    return {
      module: LabModule,
      controllers: [LabPageController, LabController],
      providers: [LabHost],
    };
  }
}
