/** `palm serve`: answers OpenAI's clients, and shows a reward model's scores, over HTTP. */
import { randomInt, randomUUID } from 'node:crypto';
import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import * as z from 'zod';
import { count, device, path } from '../config/fields.ts';
import { chatTemplate, loadedDtype, MODEL, tokenizer } from '../config/inputs.ts';
import { ArgumentError } from '../errors.ts';
import { server, SERVER } from './server-options.ts';
import { createApp } from '../serve/app.ts';
import { Catalog } from '../serve/catalog.ts';
import { load } from '../serve/load.ts';
import { ServerNumbers } from '../serve/numbers.ts';
import { access } from '../web/access.ts';
import { fromHub, placeOf } from './model-options.ts';
import { configuredCommand } from './options.ts';
