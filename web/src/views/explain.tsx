// A step of the tour beside its panels: it sets the machine up, asks for a few things, and notices them.

import { useEffect, useState } from 'preact/hooks';
import { isTlbi, type Store } from '../store.ts';
import { advance, LESSONS } from '../tour.ts';
import { Text } from './text.tsx';

export function Lesson({ store }: { readonly store: Store }) {
  const { step, ticks, panels, preview, why, walk, scenario, finished } = store;
  const [warned, setWarned] = useState(-1);
  const lesson = LESSONS[step.value];
  const ready = lesson !== undefined && scenario.value.id === lesson.scenario.id;
  const look = { panels: panels.value, preview: isTlbi(preview.value) ? preview.value : null, why: why.value, walk: walk.value, storm: store.storm };
  const seen = ready ? advance(lesson.parts, ticks.value, look) : 0;
  useEffect(() => {
    if (!ready) return;
    ticks.value = seen;
    if (seen === lesson.parts.length && !finished.value.has(step.value)) finished.value = new Set([...finished.value, step.value]);
  }, [ready, seen]);
  // The button that the next part asks for stands out until it has been pressed.
  const next = ready ? lesson.parts[seen]?.at : undefined;
  useEffect(() => {
    document.documentElement.dataset['next'] = next ?? '';
    return () => { delete document.documentElement.dataset['next']; };
  }, [next]);
  if (lesson === undefined) return null;
  const done = ready && seen === lesson.parts.length;
  /** Going on with something undone is asked for twice. */
  const leave = (go: () => void) => {
    if (done || finished.value.has(step.value) || warned === step.value) return go();
    setWarned(step.value);
    store.say(`part ${seen + 1} of this step is not done yet: press once more to go on without it`);
  };
  return (
    <section class="panel story lesson" aria-labelledby="lesson-title">
      <ol class="steps" aria-label="Steps of the tour">{LESSONS.map(({ title }, n) => (
        <li key={title}><button type="button" aria-current={n === step.value ? 'step' : undefined} title={title} class={finished.value.has(n) ? 'done' : ''} onClick={() => store.toStep(n)}>{finished.value.has(n) ? <span aria-hidden="true">✓</span> : n + 1}<span class="hidden"> {n + 1} {title}{finished.value.has(n) ? ', done' : ''}</span></button></li>
      ))}</ol>
      <h2 id="lesson-title">{lesson.title}</h2>
      {lesson.text.map((text) => <p key={text}><Text text={text} /></p>)}
      <p class="scene"><b>Scene:</b> <Text text={lesson.scene} /></p>
      <h3>Now you</h3>
      <ol class="parts" id="parts">{lesson.parts.map(({ text }, n) => (
        <li key={text} class={n < seen ? 'done' : n === seen ? 'next' : ''}><span class="tick" aria-hidden="true">{n < seen ? '✓' : n + 1}</span><span>{n < seen ? <span class="hidden">Done: </span> : null}<Text text={text} /></span></li>
      ))}</ol>
      <p class="then" role="status" id="then">{done ? (typeof lesson.then === 'string' ? lesson.then : lesson.then(look)) : ''}</p>
      <div class="buttons">
        <button type="button" disabled={step.value === 0} onClick={() => store.toStep(step.value - 1)}>◂ Previous</button>
        <button type="button" onClick={() => store.begin(lesson.scenario, false, '')}>Again</button>
        {step.value + 1 < LESSONS.length
          ? <button type="button" class={done ? 'primary' : ''} id="next" onClick={() => leave(() => store.toStep(step.value + 1))}>Next ▸</button>
          : <button type="button" class={done ? 'primary' : ''} id="next" onClick={() => leave(() => store.enter('lab'))}>To the lab ▸</button>}
      </div>
    </section>
  );
}
