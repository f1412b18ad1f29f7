// A step of the tour beside its panels: it sets the machine up, asks for a few things, and notices them.

import { useEffect } from 'preact/hooks';
import { isTlbi, type Store } from '../store.ts';
import { advance, LESSONS } from '../tour.ts';
import { Text } from './text.tsx';

export function Lesson({ store }: { readonly store: Store }) {
  const { step, ticks, panels, preview, why, walk, scenario } = store;
  const lesson = LESSONS[step.value];
  const ready = lesson !== undefined && scenario.value.id === lesson.scenario.id;
  const seen = ready ? advance(lesson.parts, ticks.value, { panels: panels.value, preview: isTlbi(preview.value) ? preview.value : null, why: why.value, walk: walk.value }) : 0;
  useEffect(() => {
    if (ready) ticks.value = seen;
  }, [ready, seen]);
  if (lesson === undefined) return null;
  const done = ready && seen === lesson.parts.length;
  return (
    <section class="panel story lesson" aria-labelledby="lesson-title">
      <ol class="steps" aria-label="Steps of the tour">{LESSONS.map(({ title }, n) => (
        <li key={title}><button type="button" aria-current={n === step.value ? 'step' : undefined} title={title} onClick={() => store.toStep(n)}>{n + 1}<span class="hidden"> {title}</span></button></li>
      ))}</ol>
      <h2 id="lesson-title">{lesson.title}</h2>
      {lesson.text.map((text) => <p key={text}><Text text={text} /></p>)}
      <h3>Now you</h3>
      <ol class="parts" id="parts">{lesson.parts.map(({ text }, n) => (
        <li key={text} class={n < seen ? 'done' : n === seen ? 'next' : ''}><span class="tick" aria-hidden="true">{n < seen ? '✓' : n + 1}</span><span>{n < seen ? <span class="hidden">Done: </span> : null}<Text text={text} /></span></li>
      ))}</ol>
      <p class="then" role="status" id="then">{done ? lesson.then : ''}</p>
      <div class="buttons">
        <button type="button" disabled={step.value === 0} onClick={() => store.toStep(step.value - 1)}>◂ Previous</button>
        <button type="button" onClick={() => store.begin(lesson.scenario, false, '')}>Again</button>
        {step.value + 1 < LESSONS.length
          ? <button type="button" class={done ? 'primary' : ''} id="next" onClick={() => store.toStep(step.value + 1)}>Next ▸</button>
          : <button type="button" class={done ? 'primary' : ''} id="next" onClick={() => store.enter('lab')}>To the lab ▸</button>}
      </div>
    </section>
  );
}
