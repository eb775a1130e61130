/** The numbers of a server that operators watch: GET /metrics. */
import { Registry } from '../web/prometheus.ts';
import type { Catalog } from './catalog.ts';
import type { Usage } from './objects.ts';
import type { Turn } from './scheduler.ts';

const SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export class ServerNumbers {
  readonly #registry = new Registry();
  readonly #requests = this.#registry.counter('rlhf_requests_total', 'Requests answered, by route and status.');
  readonly #prompt = this.#registry.counter('rlhf_prompt_tokens_total', 'Tokens of prompts, by model.');
  readonly #cached = this.#registry.counter('rlhf_cached_prompt_tokens_total', 'Those that did not have to be read.');
  readonly #drawn = this.#registry.counter('rlhf_generated_tokens_total', 'Tokens of answers, by model.');
  readonly #read = this.#registry.counter('rlhf_engine_read_tokens_total', 'Tokens of prompts that were computed.');
  readonly #steps = this.#registry.counter('rlhf_engine_drawn_tokens_total', 'Tokens that were drawn.');
  readonly #busy = this.#registry.counter('rlhf_engine_seconds_total', 'Time in which something was computed.');
  readonly #first = this.#registry.histogram(
    'rlhf_time_to_first_token_seconds',
    'From a request to its first token.',
    SECONDS,
  );
  readonly #whole = this.#registry.histogram(
    'rlhf_request_seconds',
    'From a request to the end of its answers.',
    SECONDS,
  );

  /** Also tells how many requests wait and rows run in the models of `catalog`. */
  constructor(catalog: Catalog) {
    // Adapters share the scheduler of their model, which comes first.
    const schedulers = () => new Map(catalog.models.map(({ name, scheduler }) => [scheduler, name] as const).reverse());
    const read = (of: 'waiting' | 'running') => () =>
      [...schedulers()].map(([scheduler, model]) => [{ model }, scheduler[of]] as const);
    this.#registry.gauge('rlhf_requests_waiting', 'Requests that wait for a slot.', read('waiting'));
    this.#registry.gauge('rlhf_rows_running', 'Answers that are being computed.', read('running'));
  }

  request(route: string, status: number): void {
    this.#requests.add(1, { route, status: `${status}` });
  }

  turn({ read, drawn, milliseconds }: Turn): void {
    this.#read.add(read);
    this.#steps.add(drawn);
    this.#busy.add(milliseconds / 1000);
  }

  /** The first token of a request came after so many seconds. */
  began(seconds: number): void {
    this.#first.observe(seconds);
  }

  /** All answers to a request have ended. */
  ended(model: string, { prompt, cached, drawn }: Usage, seconds: number): void {
    this.#prompt.add(prompt, { model });
    this.#cached.add(cached, { model });
    this.#drawn.add(drawn, { model });
    this.#whole.observe(seconds);
  }

  text(): string {
    return this.#registry.text();
  }
}
