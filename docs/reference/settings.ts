/** Writes settings.md beside this file: node docs/reference/settings.ts */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { settingsReference } from '../../agent/config.ts';

writeFileSync(join(import.meta.dirname, 'settings.md'), settingsReference());
