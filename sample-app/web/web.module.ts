import { Module } from '@nestjs/common';
import { AssetsController } from './assets.controller.js';

/** What all pages share. */
@Module({ controllers: [AssetsController] })
export class WebModule {}
