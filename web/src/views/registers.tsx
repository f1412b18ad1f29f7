// The identification registers, one real table each.

import type { Field } from '../plain.ts';
import { binary, bits, byRegister } from '../words.ts';

export function Registers({ fields }: { readonly fields: readonly Field[] }) {
  return (
    <div class="registers">
      {[...byRegister(fields)].map(([register, rows]) => (
        <table key={register}>
          <caption>SMMU_{register}</caption>
          <thead>
            <tr><th scope="col">Bits</th><th scope="col">Field</th><th scope="col" class="number">Value</th></tr>
          </thead>
          <tbody>
            {rows.map((field) => (
              <tr key={field.name}>
                <td><code>{bits(field)}</code></td>
                <th scope="row">{field.name}</th>
                <td class="number">{binary(field)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      ))}
    </div>
  );
}
