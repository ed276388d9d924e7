import { and, assign, fromPromise, not, setup } from 'xstate';

/** One of everything that a chart can show. */
export const sample = setup({
  actors: { ask: fromPromise(async () => undefined) },
  actions: { warm: () => undefined, cool: () => undefined, count: assign({}) },
  guards: { isCold: () => true, isDry: () => true },
  delays: { PATIENCE: 5 },
}).createMachine({
  id: 'sample',
  initial: 'idle',
  context: {},
  on: { RESET: { target: '.idle', actions: 'cool' } },
  states: {
    idle: {
      tags: ['quiet', 'cheap'],
      on: { HEAT: { guard: and(['isCold', not('isDry')]), target: 'busy', actions: ['warm', 'count'] } },
    },
    busy: {
      type: 'parallel',
      entry: 'warm',
      exit: 'cool',
      states: {
        kettle: {
          initial: 'filling',
          on: { WATCHED: { guard: 'isCold', actions: ['warm', 'cool', 'count'] } },
          states: { filling: { on: { '*': 'boiling' } }, boiling: {} },
        },
        lamp: { on: { BLINK: { actions: { type: 'count' } } } },
      },
      after: { 1000: 'asking', PATIENCE: { target: 'done' } },
    },
    asking: {
      invoke: { src: 'ask', onDone: 'done', onError: 'idle' },
      always: { guard: 'isDry', target: 'idle' },
    },
    done: { type: 'final' },
  },
});
