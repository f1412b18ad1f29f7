// Times of all operations, in random order; runs in Node and in a browser.

const ROUND = 4; // ms a contender
const LAPS = 4000;

function time(contender) {
  let spent = 0;
  let laps = 0;
  const begun = performance.now();
  do {
    contender.ready();
    const start = performance.now();
    contender.run();
    spent += performance.now() - start;
    laps += 1;
  } while (laps < LAPS && performance.now() - begun < ROUND);
  return (spent * 1e6) / laps / contender.each_lap;
}

/** `{ name: [ns ours, ns of the reference] }`, each the least of `rounds`. */
export function measure({ names, Contender }, rounds) {
  const contenders = names().flatMap((name) =>
    [true, false].map((model) => ({ name, model, contender: new Contender(name, model), least: Infinity })));
  for (let round = 0; round <= rounds; round += 1) {
    const order = contenders.map((row) => [Math.random(), row]).sort(([a], [b]) => a - b);
    for (const [, row] of order) {
      const ns = time(row.contender);
      if (round > 0) row.least = Math.min(row.least, ns); // the first round is for the compiler
    }
  }
  const results = {};
  for (const { name, least } of contenders) (results[name] ??= []).push(least);
  return results;
}
