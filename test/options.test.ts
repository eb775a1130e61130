/** The interfaces of options say what the schemas accept, and are written from them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, expectTypeOf, it } from 'vitest';
import type { z } from 'zod';
import type { CpoConfigInput, cpoConfig } from '../src/config/cpo.ts';
import type { DpoConfigInput, dpoConfig } from '../src/config/dpo.ts';
import type { FlowrlConfigInput, flowrlConfig } from '../src/config/flowrl.ts';
import type { GrpoConfigInput, grpoConfig } from '../src/config/grpo.ts';
import type { ImplicitPrmConfigInput, implicitPrmConfig } from '../src/config/implicit-prm.ts';
import type { KtoConfigInput, ktoConfig } from '../src/config/kto.ts';
import type {
  AdamAtan2ConfigInput,
  AdamWConfigInput,
  AdoptAtan2ConfigInput,
  adamAtan2Config,
  adamWConfig,
  adoptAtan2Config,
} from '../src/config/optim.ts';
import type { IlqlConfigInput, ilqlConfig } from '../src/config/ilql.ts';
import type { OrpoConfigInput, orpoConfig } from '../src/config/orpo.ts';
import type { PalmConfigInput, palmConfig } from '../src/config/palm.ts';
import type { PpoConfigInput, ppoConfig } from '../src/config/ppo.ts';
import type { PretrainConfigInput, pretrainConfig } from '../src/config/pretrain.ts';
import type { ReinforceConfigInput, reinforceConfig } from '../src/config/reinforce.ts';
import type { RemaxConfigInput, remaxConfig } from '../src/config/remax.ts';
import type { RewardConfigInput, rewardConfig } from '../src/config/reward.ts';
import type { OnlineDpoConfigInput, onlineDpoConfig } from '../src/config/online-dpo.ts';
import type { RlooConfigInput, rlooConfig } from '../src/config/rloo.ts';
import type { TargetPolicyConfigInput, targetPolicyConfig } from '../src/config/target-policy.ts';
import type { RftConfigInput, rftConfig } from '../src/config/rft.ts';
import type { SamplingConfigInput, samplingConfig } from '../src/config/sampling.ts';
import type { SimpoConfigInput, simpoConfig } from '../src/config/simpo.ts';
import { listing } from '../scripts/listing.ts';
import { optionFiles } from '../scripts/options.ts';

const folder = join(import.meta.dirname, '../src/config/options');

it('are those that `npm run options` writes', async () => {
  const files = await optionFiles();
  expect(readdirSync(folder).sort()).toEqual([...files.keys()].sort());
  for (const [name, text] of files) expect(readFileSync(join(folder, name), 'utf8'), name).toBe(text);
});

it('and the listing of commands is', async () => {
  expect(readFileSync(join(import.meta.dirname, '../src/cli/listing.ts'), 'utf8')).toBe(await listing());
});

it('accept what the schemas accept', () => {
  expectTypeOf<z.input<typeof adamAtan2Config>>().toEqualTypeOf<AdamAtan2ConfigInput>();
  expectTypeOf<z.input<typeof adamWConfig>>().toEqualTypeOf<AdamWConfigInput>();
  expectTypeOf<z.input<typeof adoptAtan2Config>>().toEqualTypeOf<AdoptAtan2ConfigInput>();
  expectTypeOf<z.input<typeof cpoConfig>>().toEqualTypeOf<CpoConfigInput>();
  expectTypeOf<z.input<typeof dpoConfig>>().toEqualTypeOf<DpoConfigInput>();
  expectTypeOf<z.input<typeof grpoConfig>>().toEqualTypeOf<GrpoConfigInput>();
  expectTypeOf<z.input<typeof ilqlConfig>>().toEqualTypeOf<IlqlConfigInput>();
  expectTypeOf<z.input<typeof implicitPrmConfig>>().toEqualTypeOf<ImplicitPrmConfigInput>();
  expectTypeOf<z.input<typeof ktoConfig>>().toEqualTypeOf<KtoConfigInput>();
  expectTypeOf<z.input<typeof orpoConfig>>().toEqualTypeOf<OrpoConfigInput>();
  expectTypeOf<z.input<typeof palmConfig>>().toEqualTypeOf<PalmConfigInput>();
  expectTypeOf<z.input<typeof ppoConfig>>().toEqualTypeOf<PpoConfigInput>();
  expectTypeOf<z.input<typeof pretrainConfig>>().toEqualTypeOf<PretrainConfigInput>();
  expectTypeOf<z.input<typeof reinforceConfig>>().toEqualTypeOf<ReinforceConfigInput>();
  expectTypeOf<z.input<typeof remaxConfig>>().toEqualTypeOf<RemaxConfigInput>();
  expectTypeOf<z.input<typeof rewardConfig>>().toEqualTypeOf<RewardConfigInput>();
  expectTypeOf<z.input<typeof rlooConfig>>().toEqualTypeOf<RlooConfigInput>();
  expectTypeOf<z.input<typeof onlineDpoConfig>>().toEqualTypeOf<OnlineDpoConfigInput>();
  expectTypeOf<z.input<typeof flowrlConfig>>().toEqualTypeOf<FlowrlConfigInput>();
  expectTypeOf<z.input<typeof targetPolicyConfig>>().toEqualTypeOf<TargetPolicyConfigInput>();
  expectTypeOf<z.input<typeof rftConfig>>().toEqualTypeOf<RftConfigInput>();
  expectTypeOf<z.input<typeof samplingConfig>>().toEqualTypeOf<SamplingConfigInput>();
  expectTypeOf<z.input<typeof simpoConfig>>().toEqualTypeOf<SimpoConfigInput>();
});
