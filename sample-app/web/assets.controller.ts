import { readFile } from 'node:fs/promises';
import { Controller, Get, Header, NotFoundException, Param, StreamableFile } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';

const CSS = 'text/css; charset=utf-8';
const SVG = 'image/svg+xml; charset=utf-8';

/** What is served: by its name, so that no path of a request ever becomes one of a file. */
const FILES: ReadonlyMap<string, { readonly type: string; readonly url: URL }> = new Map([
  ['page.css', { type: CSS, url: new URL('./assets/page.css', import.meta.url) }],
  ['icon.svg', { type: SVG, url: new URL('./assets/icon.svg', import.meta.url) }],
]);

@ApiExcludeController()
@Controller('assets')
export class AssetsController {
  @Get(':name')
  @Header('Cache-Control', 'no-cache')
  @Header('X-Content-Type-Options', 'nosniff')
  async file(@Param('name') name: string): Promise<StreamableFile> {
    const file = FILES.get(name);
    if (!file) throw new NotFoundException();
    return new StreamableFile(await readFile(file.url), { type: file.type });
  }
}
