// What the page knows of the machine: frozen data, in the architecture's words.

/** An address on its way into the SMMU, or a physical one behind it. */
export type Address = bigint;

export interface Field {
  readonly register: string;
  readonly offset: number;
  readonly name: string;
  readonly high: number;
  readonly low: number;
  readonly value: number;
}

/** What became of a DMA. */
export type Outcome =
  | { readonly kind: 'translated'; readonly pa: Address; readonly span: bigint }
  | { readonly kind: 'terminated'; readonly response: string; readonly event: string | undefined };
