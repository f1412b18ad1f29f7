// A lesson beside the panels: it sets the machine up, asks for one thing, and notices it.

import { useEffect } from 'preact/hooks';
import { isTlbi, type Store } from '../store.ts';
import { SCENARIOS } from '../scenarios.ts';
import { LESSONS } from '../tour.ts';

export function Lesson({ store }: { readonly store: Store }) {
  const { step, panels, preview, slot, scenario } = store;
  const lesson = LESSONS[step.value];
  useEffect(() => {
    if (lesson !== undefined && scenario.value.id !== lesson.scenario.id) store.begin(lesson.scenario, false, '');
    if (step.value === 3) store.speed.value = 65536;
  }, [step.value]);
  if (lesson === undefined) return null;
  const ready = scenario.value.id === lesson.scenario.id;
  const done = ready && lesson.done({ panels: panels.value, preview: isTlbi(preview.value) ? preview.value : null, slot: slot.value });
  return (
    <section class="panel story lesson" aria-labelledby="lesson-title">
      <p class="of">Step {step.value + 1} of {LESSONS.length}</p>
      <h2 id="lesson-title">{lesson.title}</h2>
      <p>{lesson.text}</p>
      <p class="task"><b>{done ? '✓ Done.' : 'Now you:'}</b> {lesson.task}</p>
      <p class="then" role="status" id="then">{done ? lesson.then : ''}</p>
      <div class="buttons">
        <button type="button" disabled={step.value === 0} onClick={() => { step.value -= 1; }}>◂ Previous</button>
        <button type="button" onClick={() => store.begin(lesson.scenario, false, '')}>Again</button>
        {step.value + 1 < LESSONS.length
          ? <button type="button" class={done ? 'primary' : ''} id="next" onClick={() => { step.value += 1; }}>Next ▸</button>
          : <button type="button" class={done ? 'primary' : ''} id="next" onClick={() => { store.mode.value = 'lab'; store.begin(SCENARIOS[0] ?? lesson.scenario, false, ''); }}>To the lab ▸</button>}
      </div>
    </section>
  );
}
