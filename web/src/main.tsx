// Wiring only: the model into the store, the store into views.

import { render } from 'preact';
import { load } from './model.ts';
import { createStore, sentence, type Store } from './store.ts';
import { LESSONS, type PanelId } from './tour.ts';
import { Band } from './views/band.tsx';
import { Compare } from './views/compare.tsx';
import { Compose } from './views/composer.tsx';
import { Lesson } from './views/explain.tsx';
import { Grid } from './views/grid.tsx';
import { Guest } from './views/guest.tsx';
import { Configuration, Counts, Events, Log, Queue, Registers, WalkCache } from './views/lists.tsx';
import { keys, Palette, Sheet, Story, Top } from './views/top.tsx';
import { Transport } from './views/transport.tsx';
import { Walk } from './views/walk.tsx';
import { Reasons } from './views/why.tsx';

const SHOWN: Readonly<Record<PanelId, (props: { readonly store: Store }) => preact.JSX.Element>> = {
  guest: Guest, walk: Walk, iotlb: Grid, composer: Compose, why: Reasons, band: Band, queue: Queue, counters: Counts, tables: WalkCache,
};

/** A lesson, and the few panels that it is about. */
function Explain({ store }: { readonly store: Store }) {
  const lesson = LESSONS[store.step.value];
  const view = (id: PanelId) => {
    const View = SHOWN[id];
    return <View key={id} store={store} />;
  };
  return (
    <div class="explain">
      <Lesson store={store} />
      {lesson === undefined ? null : (
        <div class="stage">
          {lesson.above === undefined ? null : view(lesson.above)}
          <div class="columns">
            <div>{lesson.panels.map(view)}</div>
            {lesson.beside.length === 0 ? null : <div>{lesson.beside.map(view)}</div>}
          </div>
        </div>
      )}
    </div>
  );
}

function Page({ store }: { readonly store: Store }) {
  const { mode, message } = store;
  document.documentElement.dataset['mode'] = mode.value; // before canvases ask how large letters are
  const note = message.value;
  return (
    <>
      <Top store={store} />
      {note === null ? null : <p class={`message ${note.bad ? 'bad' : ''}`} role="status" id="message">{note.text}<button type="button" onClick={() => { message.value = null; }} aria-label="dismiss">×</button></p>}
      <main>
        {mode.value === 'compare' ? <Compare store={store} /> : mode.value === 'explain' ? <Explain store={store} /> : (
          <div class="panels">
            <div class="left"><Story store={store} /><Guest store={store} /><Walk store={store} /><Registers store={store} /></div>
            <div class="middle"><Band store={store} /><Grid store={store} /><Compose store={store} /><Counts store={store} /></div>
            <div class="right"><Reasons store={store} /><Queue store={store} /><Log store={store} /><Events store={store} /><Configuration store={store} /></div>
          </div>
        )}
      </main>
      {mode.value === 'lab' || (mode.value === 'explain' && LESSONS[store.step.value]?.time === true) ? <Transport store={store} /> : null}
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
