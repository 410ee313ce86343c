import { readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { Controller, Get, Header, NotFoundException, Param, StreamableFile } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';

const FOLDERS = ['./assets/', '../lab/page/browser/'];

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml; charset=utf-8',
};

/** What pages load. Read at the start: no path of a request ever becomes one of a file. */
@ApiExcludeController()
@Controller('assets')
export class AssetsController {
  private readonly files = new Map(FOLDERS.flatMap(filesIn));

  @Get(':name')
  @Header('Cache-Control', 'no-cache')
  @Header('X-Content-Type-Options', 'nosniff')
  file(@Param('name') name: string): StreamableFile {
    const bytes = this.files.get(name);
    if (!bytes) throw new NotFoundException();
    return new StreamableFile(bytes, { type: TYPES[extname(name)]! });
  }
}

function filesIn(folder: string): [name: string, bytes: Buffer][] {
  const url = new URL(folder, import.meta.url);
  const names = readdirSync(url).filter((name) => extname(name) in TYPES);
  return names.map((name) => [name, readFileSync(new URL(name, url))]);
}
