/** Appends each test's outcome to $OUT/tests.jsonl as soon as it is known, so that a timeout loses no results. */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
const file = join(process.env.OUT ?? '.', 'tests.jsonl');
export default class {
  onTestCaseResult(test) {
    const { state, errors } = test.result();
    const line = {
      file: test.module.moduleId.split('/test/').at(-1),
      name: test.fullName,
      state,
      ms: Math.round(test.diagnostic()?.duration ?? 0),
      errors: errors?.map(({ message }) => message.slice(0, 500)),
    };
    appendFileSync(file, `${JSON.stringify(line)}\n`);
    if (state === 'failed') console.log(`FAILED ${line.file}: ${line.name}: ${line.errors?.[0]}`);
  }
  onTestModuleEnd(module) {
    console.log(
      `${module.moduleId.split('/test/').at(-1)} ${module.state()} ${Math.round(module.diagnostic().duration)} ms`,
    );
  }
}
