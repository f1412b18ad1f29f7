// Wiring only: the model into the store, the store into views.

import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import { load } from './model.ts';
import { SCENARIOS } from './scenarios.ts';
import { createStore, sentence, type Store } from './store.ts';
import { Band } from './views/band.tsx';
import { Compare } from './views/compare.tsx';
import { Compose } from './views/composer.tsx';
import { Lesson } from './views/explain.tsx';
import { Grid } from './views/grid.tsx';
import { Guest } from './views/guest.tsx';
import { Configuration, Counts, Events, Log, Queue, Registers } from './views/lists.tsx';
import { keys, Palette, Sheet, Story, Top } from './views/top.tsx';
import { Transport } from './views/transport.tsx';
import { Walk } from './views/walk.tsx';
import { Reasons } from './views/why.tsx';

function Page({ store }: { readonly store: Store }) {
  const { mode, message } = store;
  useEffect(() => {
    if (mode.value === 'lab' && store.scenario.value.group === 'tour') {
      const first = SCENARIOS[0];
      if (first !== undefined) store.begin(first, false, '');
    }
  }, [mode.value]);
  const note = message.value;
  return (
    <>
      <Top store={store} />
      {note === null ? null : <p class={`message ${note.bad ? 'bad' : ''}`} role="status" id="message">{note.text}<button type="button" onClick={() => { message.value = null; }} aria-label="dismiss">×</button></p>}
      <main>
        {mode.value === 'compare' ? <Compare store={store} /> : (
          <div class={`panels ${mode.value}`}>
            <div class="left">
              {mode.value === 'explain' ? <Lesson store={store} /> : <Story store={store} />}
              <Guest store={store} />
              <Walk store={store} />
              {mode.value === 'explain' ? null : <Registers store={store} />}
            </div>
            <div class="middle">
              <Band store={store} />
              <Grid store={store} />
              <Compose store={store} />
              {mode.value === 'explain' ? null : <Counts store={store} />}
            </div>
            <div class="right">
              <Reasons store={store} />
              <Queue store={store} />
              <Log store={store} />
              {mode.value === 'explain' ? null : <><Events store={store} /><Configuration store={store} /></>}
            </div>
          </div>
        )}
      </main>
      {mode.value === 'compare' ? null : <Transport store={store} />}
      <Palette store={store} />
      <Sheet />
    </>
  );
}

const page = document.getElementById('page');
if (page !== null) {
  try {
    const store = createStore(await load());
    if (new URLSearchParams(location.search).has('embed')) document.documentElement.dataset['embed'] = '';
    const follow = async () => {
      const hash = location.hash.slice(1);
      if (hash === '') return;
      try {
        await store.open(hash);
      } catch (error) {
        store.say(sentence(error), true);
      }
    };
    await follow();
    addEventListener('hashchange', () => void follow());
    addEventListener('keydown', (event) => keys(store, event));
    render(<Page store={store} />, page);
  } catch (error) {
    page.textContent = `The page cannot start: ${sentence(error)}`;
  }
}
