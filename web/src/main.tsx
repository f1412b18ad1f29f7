// Wiring only: the model's answers into signals, signals into views.

import { signal } from '@preact/signals';
import { render } from 'preact';
import { load } from './model.ts';
import { Dma } from './views/dma.tsx';
import { Registers } from './views/registers.tsx';
import { hex, sentence } from './words.ts';

const LOG_LINES = 50;

const model = await load({ sets: 64, ways: 4 });
const log = signal<readonly string[]>([]);

function Page() {
  return (
    <>
      <h1>SMMUv3.2</h1>
      <section aria-labelledby="dma">
        <h2 id="dma">DMA</h2>
        <Dma
          log={log.value}
          send={(stream, address, access) => {
            const outcome = model.dma(stream, address, access);
            const line = `stream ${stream} ${access}s ${hex(address)}: ${sentence(outcome)}`;
            log.value = [line, ...log.value].slice(0, LOG_LINES);
          }}
        />
      </section>
      <section aria-labelledby="registers">
        <h2 id="registers">Identification registers</h2>
        <Registers fields={model.idFields} />
      </section>
    </>
  );
}

const page = document.getElementById('page');
if (page !== null) render(<Page />, page);
