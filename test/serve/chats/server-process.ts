/** A server of chats in a process of its own, with a model that needs no computing; prints its address. */
import { ChatStore } from '../../../src/serve/chats/store.ts';
import { chatRoutes } from '../../../src/serve/chats/routes.ts';
import { listen } from '../../../src/web/server.ts';
import { FakeModel } from './fake-models.ts';

const model = new FakeModel('m');
const store = await ChatStore.open(process.argv[2] as string);
const options = { store, models: () => [model], newSeed: () => 1, onError: console.error };
const { app } = chatRoutes(options);
const { url } = await listen(app.fetch, { host: '127.0.0.1', port: 0, allowedHosts: [], maxConnections: 200 });
console.log(url);
